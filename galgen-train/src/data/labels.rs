//! Classes of images: from a file of labels to a condition.

use super::source::id_of_name;
use crate::recipe::Labels;
use galgen_core::condition::Condition;
use galgen_io::idx;
use galgen_io::table::{Table, Value};
use std::collections::HashMap;
use std::path::Path;

/// Rows of a table read at a time.
const CHUNK: usize = 4096;

/// The condition, and for each of `ids` its class, `None` where the file has none for it.
pub fn read(
    labels: &Labels,
    directory: &Path,
    ids: &[u64],
) -> Result<(Condition, Vec<Option<usize>>), String> {
    let path = directory.join(&labels.file);
    let mut start = [0; 4];
    std::fs::File::open(&path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let values = if idx::is_idx(&start) {
        bytes(&path, ids.len())?
    } else {
        table(&path, &labels.column, ids)?
    };
    let names = class_names(labels, &values)?;
    let class = |value: &Option<Value>| {
        let name = class_name(labels, value.as_ref()?)?;
        names.iter().position(|n| *n == name)
    };
    let classes: Vec<_> = values.iter().map(class).collect();
    let mut used = vec![false; names.len()];
    classes.iter().flatten().for_each(|&c| used[c] = true);
    if let Some(unused) = used.iter().position(|used| !used) {
        return Err(format!(
            "{}: no image is of class `{}`: remove it",
            path.display(),
            names[unused]
        ));
    }
    let condition = Condition::of_classes(&labels.condition, &labels.description, names);
    Ok((condition, classes))
}

/// One byte for each of `count` images.
fn bytes(path: &Path, count: usize) -> Result<Vec<Option<Value>>, String> {
    let array = idx::read(path).map_err(|e| e.to_string())?;
    if array.shape != [count] {
        return Err(format!(
            "{}: labels of shape {:?}, expected [{count}], one for each image",
            path.display(),
            array.shape
        ));
    }
    let value = |&v: &u8| Some(Value::Int(i128::from(v)));
    Ok(array.values.iter().map(value).collect())
}

/// What stands in `column` for each of `ids`: `None` where there is no such row.
pub(super) fn table(path: &Path, column: &str, ids: &[u64]) -> Result<Vec<Option<Value>>, String> {
    let text = |e: galgen_io::table::TableError| e.to_string();
    let mut table = Table::open(path).map_err(text)?;
    let by_id = table.find_optional("id").map_err(text)?;
    let key = match by_id {
        Some(column) => column,
        None => table.find("name").map_err(text)?,
    };
    let columns = [key, table.find(column).map_err(text)?];
    let mut all = HashMap::new();
    while let Some(chunk) = table.next_whole(&columns, CHUNK).map_err(text)? {
        for row in 0..chunk.rows {
            let [key, value] = chunk.row(row) else {
                unreachable!("two columns were picked")
            };
            let id = match by_id {
                Some(_) => key.u64(),
                None => Some(id_of_name(&key.text()) as u64),
            };
            if let Some(id) = id {
                all.insert(id, value.clone());
            }
        }
    }
    let found: Vec<_> = ids.iter().map(|id| all.get(id).cloned()).collect();
    if found.iter().all(Option::is_none) {
        return Err(format!(
            "{}: no row belongs to an image: `id` must be that of the images, or `name` the name of the picture",
            path.display()
        ));
    }
    Ok(found)
}

/// All classes: those of the recipe in the order of their values, or the values that occur, in order.
fn class_names(labels: &Labels, values: &[Option<Value>]) -> Result<Vec<String>, String> {
    if !labels.classes.is_empty() {
        let mut ranges: Vec<_> = labels.classes.iter().collect();
        ranges.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]));
        for pair in ranges.windows(2) {
            let ((a, [_, end]), (b, [start, _])) = (pair[0], pair[1]);
            if start <= end {
                return Err(format!(
                    "classes `{a}` and `{b}` overlap: a value has one class"
                ));
            }
        }
        return Ok(ranges.into_iter().map(|(name, _)| name.clone()).collect());
    }
    let mut found: Vec<&Value> = values
        .iter()
        .flatten()
        .filter(|v| **v != Value::Missing)
        .collect();
    let order = |v: &Value| v.f64().unwrap_or(f64::INFINITY);
    found.sort_by(|a, b| {
        let numbers = order(a).total_cmp(&order(b));
        numbers.then_with(|| a.text().cmp(&b.text()))
    });
    found.dedup();
    Ok(found.into_iter().map(Value::text).collect())
}

fn class_name(labels: &Labels, value: &Value) -> Option<String> {
    if *value == Value::Missing {
        return None;
    }
    if labels.classes.is_empty() {
        return Some(value.text());
    }
    let v = value.f64()?;
    let inside = |(_, [first, last]): &(&String, &[f64; 2])| (*first..=*last).contains(&v);
    let (name, _) = labels.classes.iter().find(inside)?;
    Some(name.clone())
}
