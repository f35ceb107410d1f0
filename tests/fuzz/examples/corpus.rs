//! The corpus as libFuzzer wants it, a file for each input, and back:
//! `corpus unpack TARGET DIRECTORY` fills a directory from `corpus/TARGET.txt`,
//! `corpus pack TARGET DIRECTORY` prints as lines those files that are new there,
//! the shortest first.
#![allow(clippy::unwrap_used)] // a tool of the tests: what fails is said

use std::collections::HashSet;
use std::path::Path;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [what, target, directory] = &arguments[..] else { panic!("unpack|pack TARGET DIRECTORY") };
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let text = std::fs::read_to_string(corpus.with_extension("txt")).unwrap();
    let known = text.lines().map(|line| line.split_once(' ').unwrap());
    match &what[..] {
        "unpack" => {
            std::fs::create_dir_all(directory).unwrap();
            for (name, digits) in known {
                let file = Path::new(directory).join(name);
                std::fs::write(file, hex::decode(digits).unwrap()).unwrap();
            }
        }
        "pack" => {
            let known: HashSet<_> = known.map(|(_, digits)| digits).collect();
            let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap());
            let mut new: Vec<_> = files
                .map(|file| hex::encode(std::fs::read(file.path()).unwrap()))
                .filter(|digits| !known.contains(&digits[..]))
                .collect();
            new.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            for (number, digits) in new.iter().enumerate() {
                println!("found-{} {digits}", known.len() + number);
            }
        }
        other => panic!("{other}: unpack or pack"),
    }
}
