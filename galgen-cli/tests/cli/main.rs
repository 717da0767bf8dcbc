//! The program `galgen` as its users meet it: files in, files and exit codes out.

mod bad_input;
mod columns;
mod compare;
mod generate;
mod images;
mod pixels;
mod random_model;
mod score;

use galgen_core::models::FlowVaePreset;
use galgen_io::stamps::StampFile;
use galgen_io::table::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Four ordinary galaxies.
const CATALOG: &str = "\
id,flux,hlr,q,n,pa,g1,g2
11,10,0.5,0.5,1,30,0.01,-0.02
12,20,1.0,0.8,2.5,100,0,0
18446744073709551615,5,0.3,0.3,0.8,170,0,0.05
14,1e3,2.0,0.9,3,0,0,0
";

/// A folder for one test with a small model and [`CATALOG`].
struct Bench {
    dir: PathBuf,
}

/// Networks for stamps of 16 x 16 pixels.
fn preset() -> FlowVaePreset {
    FlowVaePreset {
        latent: 4,
        channels: vec![8, 4, 4],
        flow_blocks: 2,
        flow_hidden: 8,
        ..FlowVaePreset::default()
    }
}

/// A model with stamps of 16 x 16 pixels and random weights, made once.
fn model() -> &'static [u8] {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    MODEL.get_or_init(|| random_model::random_model(&preset(), 1))
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("galgen-cli-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("temporary folder");
        let bench = Bench { dir };
        bench.write("model.safetensors", model());
        bench.write("cat.csv", CATALOG);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("file in the temporary folder");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Names of all files in the folder but the model and the catalogue.
    fn outputs(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.dir)
            .expect("temporary folder")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .filter(|n| n != "model.safetensors" && !n.starts_with("cat"))
            .collect();
        names.sort();
        names
    }

    /// Runs `galgen` with these arguments (split at blanks) in the folder.
    fn galgen(&self, arguments: &str) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_galgen"))
            .args(arguments.split_whitespace())
            .current_dir(&self.dir)
            .output()
            .expect("galgen runs");
        Run::from(output)
    }

    /// `galgen generate` with the small model; the catalogue is `cat.csv`.
    fn generate(&self, arguments: &str) -> Run {
        self.galgen(&format!(
            "generate --model model.safetensors --catalog cat.csv {arguments}"
        ))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Run {
    fn from(o: Output) -> Self {
        Run {
            code: o.status.code().expect("ended by itself"),
            stdout: String::from_utf8_lossy(&o.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Asserts the exit code, and that the error names all of `words`.
    #[track_caller]
    fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is not in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    #[track_caller]
    fn succeeds(&self) {
        assert_eq!(self.code, 0, "{}", self.stderr);
    }
}

/// All pixels of a stamp file.
fn pixels(path: &Path) -> Vec<Vec<f32>> {
    let mut file = StampFile::open(path).expect("a stamp file");
    let mut all = vec![0.0; file.count() * file.stamp_len()];
    file.read(0, &mut all).expect("pixels");
    all.chunks(file.stamp_len()).map(<[f32]>::to_vec).collect()
}

/// A column of the index.
fn column(path: &Path, name: &str) -> Vec<Value> {
    let file = StampFile::open(path).expect("a stamp file");
    let mut table = file.index().expect("readable").expect("an index");
    let column = table.find(name).expect("the column");
    table
        .next_chunk(&[column], 10_000)
        .expect("readable")
        .expect("rows")
        .values
}

fn numbers(path: &Path, name: &str) -> Vec<f64> {
    column(path, name)
        .iter()
        .map(|v| v.f64().expect("a number"))
        .collect()
}
