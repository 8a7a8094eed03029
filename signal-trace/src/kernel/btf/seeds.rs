//! The blobs that the fuzzer starts from are files beside it, and made here: it cannot guess a whole kernel, but it can
//! break one. `UPDATE_SEEDS=1 cargo test -p signal-trace seeds` writes them anew.

use std::path::Path;
use std::{env, fs};

use super::blob::Word::{Name, Number, Type};
use super::blob::{Blob, kernel, kernel_with};
use super::types::Kind;

#[test]
fn the_seeds_of_the_fuzzer_are_the_blobs_made_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/btf");
    for (name, blob) in seeds() {
        let file = folder.join(name);
        if env::var_os("UPDATE_SEEDS").is_some() {
            fs::write(&file, blob.encode()).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), blob.encode(), "{name} is stale: run again with UPDATE_SEEDS=1");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), seeds().len(), "a seed that nothing here makes");
}

fn seeds() -> [(&'static str, Blob); 6] {
    [
        ("kernel", kernel()),
        ("two-kernels", kernel().then(kernel())),
        ("no-member", kernel_with(|b| b.member("pid", "level")[0] = Name("depth"))),
        ("bit-field", kernel_with(|b| b.member("signal_struct", "flags")[2] = Number((1 << 24) + 12 * 8))),
        ("cycle", kernel_with(|b| b.member("task_struct", "")[1] = Type(b.id(Kind::STRUCT, "task_struct")))),
        ("layout", kernel_with(layout)),
    ]
}

fn layout(blob: &mut Blob) {
    blob.add(Kind(20), "", Number(0), vec![Number(0); 3]);
    blob.layout = vec![[0; 4]; 20];
    blob.layout.push([12, 4, 0, 0]);
}
