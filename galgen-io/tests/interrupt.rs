//! What a signal handler does. In a process of its own: it reaches every writer there is.

use galgen_io::atomic::{AtomicFile, abort_all};

#[test]
fn an_interrupt_removes_all_temporaries_and_keeps_former_files() {
    let dir = std::env::temp_dir().join(format!("galgen-io-interrupt-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let paths = ["a", "b"].map(|name| dir.join(name));
    let writers = paths.clone().map(|path| {
        std::fs::write(&path, b"former").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.put(b"new").unwrap();
        file
    });
    abort_all();
    for (writer, path) in writers.into_iter().zip(&paths) {
        // Too late: there is nothing left to put in place.
        assert!(writer.commit().is_err());
        assert_eq!(std::fs::read(path).unwrap(), b"former");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    std::fs::remove_dir_all(&dir).unwrap();
}
