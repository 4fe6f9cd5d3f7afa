//! R10: the model file changes, or only seems to. What is used is always made of what the file contains now.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::cli::{WOOLLYCTL, command, say};

use super::warming::names;
use super::{Fault, Figure, Trial, pick, random, right};

const MODEL: &[u8] = include_bytes!("../fixtures/llama-gqa.gguf");
/// The values of the last tensors, which may be any.
const TAIL: usize = 100_000;
/// A state of a file is remembered when it was at rest for two seconds, which nothing but time can bring about.
const REST: Duration = Duration::from_millis(2_200);

/// What happens to the model, and whether its content stays.
type Change = (&'static str, bool, fn(&Model, u64));

const CHANGES: [Change; 11] = [
    ("touched", true, |model, _| {
        OpenOptions::new()
            .write(true)
            .open(&model.path)
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
    }),
    ("other permissions", true, |model, _| {
        fs::set_permissions(&model.path, Permissions::from_mode(0o640)).unwrap();
    }),
    ("renamed and back", true, |model, _| {
        fs::rename(&model.path, model.beside()).unwrap();
        fs::rename(model.beside(), &model.path).unwrap();
    }),
    ("copied over", true, |model, _| {
        fs::copy(&model.path, model.beside()).unwrap();
        fs::rename(model.beside(), &model.path).unwrap();
    }),
    ("edited and back", true, |model, at| {
        model.edit(at);
        model.edit(at);
    }),
    ("edited in place", false, |model, at| model.edit(at)),
    (
        "edited in place, modification time set back",
        false,
        |model, at| {
            let modified = fs::metadata(&model.path).unwrap().modified().unwrap();
            model.edit(at);
            OpenOptions::new()
                .write(true)
                .open(&model.path)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        },
    ),
    ("replaced", false, |model, at| {
        model.write_beside(at);
        fs::rename(model.beside(), &model.path).unwrap();
    }),
    (
        "replaced, with the same modification time",
        false,
        |model, at| {
            let modified = fs::metadata(&model.path).unwrap().modified().unwrap();
            model.write_beside(at);
            OpenOptions::new()
                .write(true)
                .open(model.beside())
                .unwrap()
                .set_modified(modified)
                .unwrap();
            fs::rename(model.beside(), &model.path).unwrap();
        },
    ),
    ("removed and written anew", false, |model, at| {
        model.write_beside(at);
        let bytes = fs::read(model.beside()).unwrap();
        fs::remove_file(&model.path).unwrap();
        fs::write(&model.path, bytes).unwrap();
    }),
    ("a link that leads elsewhere", false, |model, at| {
        model.write_beside(at);
        fs::rename(&model.path, model.path.with_extension("first")).unwrap();
        symlink(model.beside(), &model.path).unwrap();
    }),
];

struct Model {
    path: PathBuf,
    cache: PathBuf,
}

impl Model {
    fn new(root: &Path, number: usize) -> Self {
        let folder = root.join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let path = folder.join("model.gguf");
        fs::write(&path, MODEL).unwrap();
        Model {
            path,
            cache: folder.join("cache"),
        }
    }

    fn beside(&self) -> PathBuf {
        self.path.with_extension("beside")
    }

    /// Inverts a byte of the values.
    fn edit(&self, at: u64) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .unwrap();
        let at = MODEL.len() as u64 - 1 - at;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    /// Another model of the same size.
    fn write_beside(&self, at: u64) {
        let mut bytes = MODEL.to_vec();
        let at = bytes.len() - 1 - at as usize;
        bytes[at] = !bytes[at];
        fs::write(self.beside(), bytes).unwrap();
    }

    /// Whether the cache file was there, and the hash of what it was made from.
    fn warm(&self) -> (bool, String) {
        let (model, dir) = (self.path.to_str().unwrap(), self.cache.to_str().unwrap());
        let arguments = ["cache", "warm", "--json", model, "--dir", dir];
        let answer = say(command(WOOLLYCTL, &arguments))
            .ends_with(0)
            .json_lines()
            .remove(0);
        let fingerprint = answer["fingerprint"].as_str().unwrap();
        (answer["from_cache"] == true, fingerprint[..64].to_owned())
    }
}

#[test]
fn r10_what_the_model_contains_now_is_what_is_used() {
    let root = tempfile::tempdir().unwrap();
    let trials = CHANGES.len() * pick(1, 10, 100);
    let models: Vec<Model> = (0..trials)
        .map(|number| Model::new(root.path(), number))
        .collect();
    std::thread::sleep(REST);
    let seed = 10;
    let mut random = random(seed);
    let mut figure = Figure::new("R10", "model touched, edited or replaced");
    for (model, change) in models.iter().zip(CHANGES.iter().cycle()) {
        figure.count(changed(model, change, random(TAIL as u64)));
        fs::remove_dir_all(model.path.parent().unwrap()).unwrap();
    }
    figure.finish(trials);
}

fn changed(model: &Model, &(what, same, change): &Change, at: u64) -> Trial {
    let case = format!("{what}, byte {at} from the end");
    let (from_cache, _) = model.warm();
    // Without a record every start would read the file, and the trial would show nothing.
    let recorded = names(&model.cache)
        .iter()
        .any(|name| name.ends_with(".source"));
    right(!from_cache && recorded, || {
        format!("{case}: nothing is remembered")
    })?;
    right(model.warm().0, || format!("{case}: built twice"))?;

    change(model, at);
    let (from_cache, hash) = model.warm();
    let now = blake3::hash(&fs::read(&model.path).unwrap())
        .to_hex()
        .to_string();
    right(hash == now, || {
        format!("{case}: the weights are those of {hash}, the model is {now}")
    })?;
    if from_cache == same {
        Ok(())
    } else {
        Err(Fault::Unnoticed(format!(
            "{case}: from_cache is {from_cache}"
        )))
    }
}
