//! What goes with a release of shipit, made by shipit's own code: the binary as an OCI image in a layout, with a statement of
//! where binary and image come from (in-toto, SLSA), and a list of what is in the image (CycloneDX).
//!
//! `cargo run --example release -- FOLDER`, where `FOLDER/shipit` is the binary. The workflow that releases runs it, and gives
//! the commit in `GITHUB_SHA`, the repository in `GITHUB_REPOSITORY`, and the run in `GITHUB_RUN_ID`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use shipit::driver::builder::pack::Pack;
use shipit::driver::registry::layout::Layout;
use shipit::model::build::{Base, BuildSpec, PackSpec, an_hour};
use shipit::model::provenance::Statement;
use shipit::model::sbom::Bill;
use shipit::model::source::Source;
use shipit::model::{ContentHash, Digest, ServiceName};
use shipit::port::builder::BuildRequest;
use shipit::port::registry::layers;
use shipit::port::{Builder as _, Registry as _};
use tokio_util::sync::CancellationToken;

/// The image's name in its layout.
const NAME: &str = "shipit";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .ok_or("name the folder with the binary")?;
    release(Path::new(&folder)).await
}

async fn release(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (service, source): (ServiceName, Source) = (NAME.parse()?, source());
    let spec = BuildSpec::Pack(image());
    let inputs = Pack.inputs(folder, &spec, &BTreeMap::new()).await?.hash;
    let request = BuildRequest {
        title: NAME.to_owned(),
        service: service.clone(),
        root: folder.to_owned(),
        spec: spec.clone(),
        bases: BTreeMap::new(),
        secrets: BTreeMap::new(),
        source: source.clone(),
        expects: inputs.clone(),
    };
    let built = Pack
        .build(&request, &|_| {}, &CancellationToken::new())
        .await?;

    let layout = Layout::new(folder.join("image"));
    let tags = [variable("GITHUB_REF_NAME").unwrap_or_else(|| "latest".to_owned())];
    let digest = layout.push(&service, &built, &tags, &|_| {}).await?;

    // What is downloaded is the binary: it has a statement of its own.
    let binary = Digest::of(&std::fs::read(folder.join(NAME))?);
    for (file, subject) in [("shipit", &binary), ("image", &digest)] {
        let statement = statement(subject, &spec, &source, &inputs);
        std::fs::write(folder.join(format!("{file}.provenance.json")), statement)?;
    }

    let image = built.images.first().ok_or("no image was built")?;
    let contents = Pack.contents(&spec, layers(image, &layout).await?).await?;
    let bill = Bill {
        repository: &repository(),
        image: &digest,
        bases: BTreeMap::new(),
        contents: &contents,
    };
    std::fs::write(folder.join("image.cdx.json"), bill.json()?)?;
    Ok(())
}

fn image() -> PackSpec {
    PackSpec {
        context: PathBuf::from("."),
        inputs: vec![NAME.to_owned()],
        leave_out: Vec::new(),
        run: Vec::new(),
        copy: BTreeMap::from([(NAME.into(), "/usr/bin/shipit".into())]),
        base: Base::Scratch,
        entrypoint: vec!["/usr/bin/shipit".to_owned()],
        user: Some("65532:65532".to_owned()),
        workdir: None,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        port: None,
        platforms: Vec::new(),
        within: an_hour(),
    }
}

fn statement(subject: &Digest, spec: &BuildSpec, source: &Source, inputs: &ContentHash) -> String {
    let statement = Statement {
        repository: &repository(),
        image: subject,
        spec,
        source,
        inputs,
        bases: BTreeMap::new(),
        run: &variable("GITHUB_RUN_ID").unwrap_or_default(),
    };
    statement.json().to_string()
}

fn source() -> Source {
    let server = variable("GITHUB_SERVER_URL");
    let name = variable("GITHUB_REPOSITORY");
    Source {
        commit: variable("GITHUB_SHA"),
        origin: server
            .zip(name)
            .map(|(server, name)| format!("{server}/{name}")),
        ..Source::default()
    }
}

fn repository() -> String {
    variable("GITHUB_REPOSITORY").unwrap_or_else(|| NAME.to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
