//! The bill of materials: every crate whose code is in the binary, as CycloneDX, from what cargo itself resolved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{child, machine};

/// The packages that are built into the binary: the product, and the programs that it carries.
const ROOTS: [&str; 2] = ["signal-trace", "signal-trace-ebpf"];

/// That of the product, as it is built for `target`.
pub(super) fn of_the_product(target: &str) -> Result<String> {
    let mut cargo = machine::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let metadata = serde_json::from_str(&child::read(&mut cargo)?).context("cargo's metadata is not JSON")?;
    let bill = bill(&metadata).context("cargo's metadata lacks what it should have")?;
    Ok(format!("{bill:#}\n"))
}

fn bill(metadata: &Value) -> Option<Value> {
    let packages: BTreeMap<_, _> =
        metadata["packages"].as_array()?.iter().map(|package| (package["id"].as_str(), package)).collect();
    let nodes: BTreeMap<_, _> =
        metadata["resolve"]["nodes"].as_array()?.iter().map(|node| (node["id"].as_str(), node)).collect();
    let roots: Vec<_> = packages.values().filter(|package| ROOTS.iter().any(|root| package["name"] == *root)).collect();
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = roots.iter().map(|package| package["id"].as_str()).collect();
    while let Some(id) = next.pop() {
        if reached.insert(id) {
            next.extend(linked(nodes.get(&id)?)?);
        }
    }
    let product = packages.values().find(|package| package["name"] == ROOTS[0])?;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in &reached {
        let package = packages.get(id)?;
        if package["name"] != ROOTS[0] {
            components.push(component(package, "library")?);
        }
        let of_it = linked(nodes.get(id)?)?.into_iter().map(|id| Some(reference(packages.get(&id)?)));
        let of_it = of_it.collect::<Option<BTreeSet<_>>>()?;
        dependencies.push(json!({ "ref": reference(package), "dependsOn": of_it }));
    }
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": component(product, "application")? },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The packages that this one links: neither those of its tests nor those of its build.
fn linked(node: &Value) -> Option<Vec<Option<&str>>> {
    let is_linked = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    Some(node["deps"].as_array()?.iter().filter(is_linked).map(|dependency| dependency["pkg"].as_str()).collect())
}

fn component(package: &Value, kind: &str) -> Option<Value> {
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"].as_str()?,
        "version": package["version"].as_str()?,
        "purl": reference(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Some still write it as cargo's first users did.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    Some(component)
}

fn reference(package: &Value) -> String {
    let part = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", part("name"), part("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let needs = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let node = |id: &str, deps: Value| json!({ "id": id, "deps": deps });
        let names = ["signal-trace", "signal-trace-ebpf", "linked", "below", "built-with", "tested-with"];
        let metadata = json!({
            "packages": names.map(package),
            "resolve": { "nodes": [
                node("signal-trace", json!([
                    needs("linked", Value::Null), needs("built-with", json!("build")), needs("tested-with", json!("dev")),
                ])),
                node("signal-trace-ebpf", json!([])),
                node("linked", json!([needs("below", Value::Null)])),
                node("below", json!([])),
                node("built-with", json!([])),
                node("tested-with", json!([])),
            ] },
        });
        let bill = bill(&metadata).unwrap();
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["below", "linked", "signal-trace-ebpf"]);
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/signal-trace@1.0.0");
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let of_linked = bill["dependencies"].as_array().unwrap().iter().find(|d| d["ref"] == "pkg:cargo/linked@1.0.0");
        assert_eq!(of_linked.unwrap()["dependsOn"], json!(["pkg:cargo/below@1.0.0"]));
    }
}
