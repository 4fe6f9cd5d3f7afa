//! Markdown tables whose columns line up, so that they read well in a terminal too.

use super::samples::Spread;

/// One table under its heading.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: impl Into<String>, head: &[&'static str]) -> Table {
        Table {
            title: title.into(),
            head: head.to_vec(),
            rows: vec![],
        }
    }

    /// Heading, head, rule and rows; the first column to the left, numbers to the right.
    pub(super) fn markdown(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let aligned = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&widths).enumerate();
            line(
                cells
                    .map(|(column, (cell, &width))| match column {
                        0 => format!("{cell:width$}"),
                        _ => format!("{cell:>width$}"),
                    })
                    .collect(),
            )
        };
        let rule = widths.iter().enumerate().map(|(column, &width)| {
            let dashes = "-".repeat(width.max(2) - 1);
            match column {
                0 => format!("{dashes}-"),
                _ => format!("{dashes}:"),
            }
        });
        let mut text = format!("## {}\n\n", self.title);
        text += &aligned(&mut self.head.iter().copied());
        text += &line(rule.collect());
        for row in &self.rows {
            text += &aligned(&mut row.iter().map(String::as_str));
        }
        text
    }
}

/// `12.3 (11.9-13.0)`: three digits that count.
pub(super) fn spread(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    format!("{} ({}-{})", number(median), number(min), number(max))
}

/// Seconds as milliseconds.
pub(super) fn milliseconds(seconds: Spread) -> String {
    spread(Spread {
        median: seconds.median * 1e3,
        min: seconds.min * 1e3,
        max: seconds.max * 1e3,
    })
}

/// Millions, as in megabytes or millions of parameters.
pub(super) fn millions(count: u64) -> String {
    number(count as f64 / 1e6)
}

/// Three digits that count, never fewer than stand before the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new("Speed", &["type", "GB/s"]);
        table.rows.push(vec!["F32".into(), "9.50".into()]);
        table.rows.push(vec!["IQ2_XXS".into(), "12.0".into()]);
        assert_eq!(
            table.markdown(),
            "## Speed\n\n\
             | type    | GB/s |\n\
             | ------- | ---: |\n\
             | F32     | 9.50 |\n\
             | IQ2_XXS | 12.0 |\n"
        );
    }

    #[test]
    fn three_digits_count() {
        let numbers = [0.0, 0.1234, 1.005, 9.987, 12.34, 99.94, 123.4, 9876.5];
        let texts = numbers.map(number);
        assert_eq!(
            texts,
            ["0", "0.123", "1.00", "9.99", "12.3", "99.9", "123", "9876"]
        );
        let seconds = Spread {
            median: 0.0215,
            min: 0.02,
            max: 0.1,
        };
        assert_eq!(milliseconds(seconds), "21.5 (20.0-100)");
        assert_eq!(spread(seconds), "0.021 (0.020-0.100)");
        assert_eq!(millions(134_515_008), "135");
    }
}
