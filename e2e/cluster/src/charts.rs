//! Tenbin itself on a cluster: the two charts, with the images of this tree.

use std::time::Duration;

use anyhow::Result;

use crate::Context;
use crate::images::Images;
use crate::kind::Cluster;
use crate::run::Run;
use crate::tools;

/// The namespace of the operator.
pub const NAMESPACE: &str = "tenbin-system";
const TIMEOUT: Duration = Duration::from_secs(240);

/// Installs or upgrades both charts and waits until the operator is there.
///
/// # Errors
/// Where Helm fails.
pub fn install(context: &Context, cluster: &Cluster, images: &Images) -> Result<()> {
    let upgrade = |release: &str, more: &[String]| {
        let chart = context.root.join("charts").join(release);
        let helm = cluster.helm(["upgrade", "--install", release]).args([chart]);
        helm.args(["-n", NAMESPACE, "--create-namespace", "--wait", "--timeout=180s"])
            .args(more)
            .limit(TIMEOUT)
            .done()
    };
    context.say.line("   tenbin-crds");
    upgrade("tenbin-crds", &[])?;
    context.say.line("   tenbin");
    upgrade("tenbin", &values(images))
}

/// Checks both charts without a cluster.
///
/// # Errors
/// Where Helm can't be had, or finds something.
pub fn lint(context: &Context) -> Result<()> {
    let helm = tools::helm(context)?;
    for chart in ["tenbin-crds", "tenbin"] {
        Run::new(&helm)
            .args(["lint", "--strict"])
            .args([context.root.join("charts").join(chart)])
            .done()?;
    }
    Ok(())
}

fn values(images: &Images) -> Vec<String> {
    let pairs = [("operator", &images.operator), ("proxy", &images.proxy)];
    let set = |name: &str, value: &str| ["--set-string".to_owned(), format!("{name}={value}")];
    pairs
        .iter()
        .flat_map(|(part, image)| {
            let both = [
                set(&format!("{part}.image.repository"), image.name),
                set(&format!("{part}.image.tag"), &image.tag),
            ];
            both.into_iter().flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Image;

    #[test]
    fn the_charts_get_the_images_of_this_tree() {
        let image = |name| Image {
            name,
            tag: "0.1.0-ab".to_owned(),
            alias: None,
        };
        let images = Images {
            proxy: image("tenbin/proxy"),
            operator: image("tenbin/operator"),
            demo: image("tenbin/demo"),
        };
        let text = values(&images).join(" ");
        assert_eq!(
            text,
            "--set-string operator.image.repository=tenbin/operator --set-string operator.image.tag=0.1.0-ab \
             --set-string proxy.image.repository=tenbin/proxy --set-string proxy.image.tag=0.1.0-ab"
        );
    }
}
