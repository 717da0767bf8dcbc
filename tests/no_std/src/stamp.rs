//! The smallest firmware: a model file in read-only memory, one session, a stamp of it.
#![no_std]
#![no_main]

mod board;

use board::{Console, HEAP, stack_peak};
use core::fmt::Write;
use galgen_hashes::native_stamp;
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
    let hash = native_stamp(&mut session).0;
    let stamp = 4 * session.model().stamp_len();
    let drawing = HEAP.usage().1 - loaded - found - stamp;
    let stack = stack_peak();
    writeln!(Console, "native {hash:016x}").expect("a console");
    writeln!(
        Console,
        "# model {loaded} ({load_peak} while it loads), session {found} (planned {planned}), drawing {drawing}, \
         stack {stack} bytes"
    )
    .expect("a console");
}
