//! The committed table of hashes holds: on every level of instructions, in any order, with any number of objects
//! to a session, and on many threads that share one model.

use galgen_hashes::{OBJECTS, Outputs, TABLE, cases, outputs, write_lines};
use galgen_infer::{Model, Session, Simd};
use std::sync::Arc;

const HELP: &str =
    "if the pixels are meant to change, write the table anew as tests/hashes/src/lib.rs says";

/// The lines of a case in `table`.
fn lines_of<'a>(table: &'a str, case: &str) -> Vec<&'a str> {
    let of_case = |line: &&str| line.split(' ').next() == Some(case);
    table.lines().filter(of_case).collect()
}

fn one(model: &Arc<Model>, i: u32) -> Outputs {
    outputs(&mut Session::new(model.clone()), i)
}

#[test]
fn the_table_holds_on_every_level_in_any_order_and_batch() {
    let mut known = 0;
    for case in cases() {
        let bytes = case.bytes();
        let expected = lines_of(TABLE, case.name);
        known += expected.len();
        for simd in Simd::available() {
            let model = Model::from_bytes_on(&bytes, simd).unwrap();
            // One session for all; then, where that is quick, in reverse after other work, and a session for each.
            let mut session = Session::new(model.clone());
            let together = (0..OBJECTS).map(|i| outputs(&mut session, i)).collect();
            let mut ways = vec![("one session", together)];
            if !(case.large && simd == Simd::Scalar) {
                let backwards = (0..OBJECTS).rev().map(|i| outputs(&mut session, i));
                let mut backwards: Vec<_> = backwards.collect();
                backwards.reverse();
                ways.push(("in reverse", backwards));
                let apart = (0..OBJECTS).map(|i| one(&model, i));
                ways.push(("a session each", apart.collect()));
            }
            for (how, objects) in ways {
                let mut found = String::new();
                write_lines(&mut found, &case, &objects).unwrap();
                let found: Vec<_> = found.lines().collect();
                assert_eq!(found, expected, "{}, {how}: {HELP}", simd.name());
            }
        }
    }
    assert_eq!(known, TABLE.lines().count(), "lines of no case: {HELP}");
}

#[test]
fn the_table_holds_on_threads_that_share_a_model() {
    const THREADS: u32 = 4;
    for case in cases() {
        let model = Model::from_bytes(&case.bytes()).unwrap();
        // Every thread draws all objects, each starting with another.
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let model = model.clone();
                std::thread::spawn(move || {
                    let mut session = Session::new(model);
                    let mut objects = vec![Outputs::new(); OBJECTS as usize];
                    for i in (0..OBJECTS).map(|i| (i + t) % OBJECTS) {
                        objects[i as usize] = outputs(&mut session, i);
                    }
                    objects
                })
            })
            .collect();
        for thread in threads {
            let mut found = String::new();
            write_lines(&mut found, &case, &thread.join().unwrap()).unwrap();
            let found: Vec<_> = found.lines().collect();
            assert_eq!(found, lines_of(TABLE, case.name), "{HELP}");
        }
    }
}
