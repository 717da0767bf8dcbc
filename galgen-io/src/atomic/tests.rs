use super::*;
use crate::test_dir;

/// Names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn commit_replaces_and_drop_does_not() {
    let dir = test_dir("commit");
    let path = dir.join("a");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.put(b"half of the n").unwrap();
    assert_eq!(names(&dir).len(), 2);
    drop(file);
    assert_eq!(
        (fs::read(&path).unwrap(), names(&dir)),
        (b"old".to_vec(), vec!["a".to_string()])
    );
    write_atomic(&path, b"new").unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), names(&dir)),
        (b"new".to_vec(), vec!["a".to_string()])
    );
}

#[test]
fn patches_go_back_and_writing_goes_on_at_the_end() {
    let path = test_dir("patch").join("a");
    let mut file = AtomicFile::create(&path).unwrap();
    file.put(b"....5678").unwrap();
    file.patch(1, b"234").unwrap();
    file.patch(0, b"1").unwrap();
    file.put(b"9").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"123456789");
}

#[test]
fn two_writers_of_one_target_do_not_meet() {
    let path = test_dir("two").join("a");
    let mut one = AtomicFile::create(&path).unwrap();
    let mut two = AtomicFile::create(&path).unwrap();
    assert_ne!(one.temporary(), two.temporary());
    one.put(b"one").unwrap();
    two.put(b"two").unwrap();
    one.commit().unwrap();
    two.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[test]
fn unwritable_targets_are_refused_with_path_and_cause() {
    let dir = test_dir("refuse");
    let said = |path: &Path| AtomicFile::create(path).unwrap_err().to_string();
    assert!(said(&dir).contains("it is a directory"));
    let nowhere = dir.join("none/a");
    assert!(said(&nowhere).contains("no directory") && said(&nowhere).contains("none/a"));
    assert!(said(Path::new("/")).contains("no file name"));
    #[cfg(unix)]
    assert!(said(Path::new("/dev/null")).contains("not a regular file"));
    let locked = dir.join("locked");
    fs::write(&locked, b"x").unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    assert!(said(&locked).contains("write-protected"));
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let dir = test_dir("link");
    fs::write(dir.join("real"), b"old").unwrap();
    std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
    write_atomic(dir.join("link"), b"new").unwrap();
    assert_eq!(fs::read(dir.join("real")).unwrap(), b"new");
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
}
