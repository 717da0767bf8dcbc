//! The smallest firmware: a model file in read-only memory, one session, a stamp of it.
#![no_std]
#![no_main]

mod board;

use board::{Console, HEAP, stack_peak};
use core::fmt::Write;
use galgen_core::object::Object;
use galgen_hashes::Fnv;
use galgen_infer::{Model, Session};

/// The file that `galgen-hashes model NAME` writes.
static FILE: &[u8] = include_bytes!(env!("GALGEN_MODEL"));

fn main() {
    let model = Model::from_bytes(FILE).expect("a model file");
    let (loaded, load_peak) = HEAP.usage();
    let planned = model.session_bytes();
    let mut session = Session::new(model);
    let found = HEAP.usage().0 - loaded;
    HEAP.forget_peak();
    let mut stamp = [0.0; 256];
    let drawn = session.sample_native(7, &Object::new(42, &[0.5, 3.0]), &mut stamp);
    drawn.expect("a galaxy");
    let mut hash = Fnv::default();
    stamp.iter().for_each(|v| hash.add(&v.to_le_bytes()));
    let drawing = HEAP.usage().1 - loaded - found;
    let (hash, stack) = (hash.0, stack_peak());
    writeln!(Console, "native {hash:016x}").expect("a console");
    writeln!(
        Console,
        "# model {loaded} ({load_peak} while it loads), session {found} (planned {planned}), drawing {drawing}, \
         stack {stack} bytes"
    )
    .expect("a console");
}
