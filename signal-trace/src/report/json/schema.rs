//! The JSON Schema of a record, made of the same types that write it: `signal-trace explain --schema`.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::shape::Record;

/// Draft 2020-12.
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Record>();
    schema.insert("$id".to_owned(), "https://signal-trace.dev/schemas/shutdown-v1.json".into());
    schema
}

/// As it is printed.
pub fn schema_text() -> String {
    format!("{:#}\n", schema().to_value())
}
