//! The rotation of positions: `rope_theta`, and the scaling that older files have in `rope_scaling` and
//! newer ones in `rope_parameters`, together with `rope_theta`.

use std::f32::consts::TAU;

use serde_json::{Map, Value as Json};

use crate::weights::gguf::Value;

use super::Error;
use super::config::Object;

/// What the converter makes of it.
pub(super) struct Rotation {
    pub(super) pairs: Vec<(String, Value)>,
    /// Divisors of each pair's rotation: the tensor `rope_freqs.weight`.
    pub(super) factors: Option<Vec<f32>>,
}

/// Base of the rotation where the file does not say.
const BASE: f64 = 10_000.0;

/// Kinds of scaling other than llama 3's go into the metadata, as llama.cpp's converter writes them; a model that does
/// not know them is refused.
pub(super) fn read(object: &Object, prefix: &str, head: usize) -> Result<Rotation, Error> {
    let key = match object.get("rope_parameters") {
        Some(_) => "rope_parameters",
        None => "rope_scaling",
    };
    let empty = Map::new();
    let scaling = Scaling {
        object,
        key,
        members: object
            .typed(key, "an object", Json::as_object)?
            .unwrap_or(&empty),
    };
    let base = match scaling.number("rope_theta")? {
        Some(base) => Some(base),
        None => object.number("rope_theta")?,
    };
    let mut pairs = vec![(
        format!("{prefix}.rope.dimension_count"),
        Value::U64(head as u64),
    )];
    let base_pair = |base| (format!("{prefix}.rope.freq_base"), Value::F32(base as f32));
    pairs.extend(base.map(base_pair));
    let kind = scaling.member("rope_type").or(scaling.member("type"));
    let factors = match kind {
        None => None,
        Some(Json::String(kind)) => match kind.as_str() {
            "default" | "none" => None,
            "llama3" => Some(scaling.factors(base.unwrap_or(BASE), head)?),
            // Needs factors that no converter of these architectures takes along.
            "longrope" | "su" => {
                let expected = "an object whose rope_type is default, linear, yarn or llama3";
                return Err(object.wrong(key, expected));
            }
            other => {
                let mut pair = |name: &str, value| {
                    pairs.push((format!("{prefix}.rope.scaling.{name}"), value));
                };
                pair("type", Value::String(other.to_owned()));
                if let Some(factor) = scaling.number("factor")? {
                    pair("factor", Value::F32(factor as f32));
                }
                if let Some(context) = scaling.number("original_max_position_embeddings")? {
                    pair("original_context_length", Value::U64(context as u64));
                }
                None
            }
        },
        Some(_) => return Err(object.wrong(key, "an object whose rope_type is a text")),
    };
    Ok(Rotation { pairs, factors })
}

struct Scaling<'a> {
    object: &'a Object,
    key: &'static str,
    members: &'a Map<String, Json>,
}

impl Scaling<'_> {
    fn member(&self, name: &str) -> Option<&Json> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.member(name) else {
            return Ok(None);
        };
        let positive = value.as_f64().filter(|&number| number > 0.0);
        positive.map(Some).ok_or_else(|| {
            let expected = format!("an object whose {name} is a positive number");
            self.object.wrong(self.key, &expected)
        })
    }

    /// Slow rotations are divided by `factor`, fast ones by 1, those between by something between. In the
    /// order of operations, each rounded to FP32, that llama.cpp's converter has from PyTorch; only the
    /// power is PyTorch's own, and may differ from ours in the last bit.
    fn factors(&self, base: f64, head: usize) -> Result<Vec<f32>, Error> {
        let number = |name, default| Ok(self.number(name)?.unwrap_or(default) as f32);
        let factor = number("factor", 8.0)?;
        let low = number("low_freq_factor", 1.0)?;
        let high = number("high_freq_factor", 4.0)?;
        let context = number("original_max_position_embeddings", 8192.0)?;
        if high <= low {
            let expected = "an object whose high_freq_factor is above its low_freq_factor";
            return Err(self.object.wrong(self.key, expected));
        }
        let one = |pair: usize| {
            let exponent = (2 * pair) as f32 / head as f32;
            let power = libm::pow(base, f64::from(exponent)) as f32;
            let frequency = 1.0 / power;
            let length = 1.0 / frequency * TAU;
            if length < context / high {
                return 1.0;
            }
            if length > context / low {
                return factor;
            }
            let smooth = (1.0 / length * context - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        Ok((0..head / 2).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn factors_are_those_of_the_same_operations_in_numpy() {
        let Json::Object(members) = json!({"rope_theta": 500000, "rope_scaling": {
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}})
        else {
            panic!("an object")
        };
        let file = "config.json";
        let rotation = read(&Object { file, members }, "llama", 64).unwrap();
        let bits = rotation.factors.unwrap().into_iter().map(f32::to_bits);
        let mut expected = vec![1.0_f32.to_bits(); 15];
        expected.extend([0x3fd3_5ec2, 0x4052_b46f, 0x411a_aaee]);
        expected.resize(32, 32.0_f32.to_bits());
        assert_eq!(bits.collect::<Vec<_>>(), expected);
    }
}
