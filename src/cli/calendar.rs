//! Times as people read them.

use super::render;

const DAY: u64 = 86_400;
/// Days from 1 March of the year 0 to 1 January 1970. Years that begin in March have their odd day at the end.
const MARCH_0000_TO_1970: u64 = 719_468;
/// The calendar repeats itself after 400 years.
const DAYS_OF_400_YEARS: u64 = 146_097;

/// Date and time in UTC, and how far away that is; both arguments are Unix seconds.
pub(super) fn sentence(time: u64, now: u64) -> String {
    format!("{} ({})", utc(time), render::distance(time, now))
}

fn utc(time: u64) -> String {
    let (year, month, day) = date(time / DAY);
    let second = time % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The date so many days after 1 January 1970 in the Gregorian calendar.
/// Method: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + MARCH_0000_TO_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and again: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = match month_from_march {
        0..10 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    (400 * era + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..2 * DAYS_OF_400_YEARS {
            assert_eq!(date(days), (year, month, day), "after {days} days");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2770, 1, 1));
    }

    #[test]
    fn a_time_is_told_with_its_distance() {
        let time = 1_709_210_096;
        let ago = "2024-02-29 12:34:56 UTC (2 min ago)";
        assert_eq!(sentence(time, time + 150), ago);
        let ahead = "2024-02-29 12:34:56 UTC (in 3 d)";
        assert_eq!(sentence(time, time - 3 * DAY), ahead);
        assert_eq!(sentence(0, 59), "1970-01-01 00:00:00 UTC (59 s ago)");
    }
}
