//! Pulling an image from a registry.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::config::ConfigDocument;
use crate::digest::Digest;
use crate::error::{Error, Result, blocking};
use crate::image::{Image, LayerInfo};
use crate::layer::{self, Job};
use crate::manifest::{Descriptor, Document, Index, Manifest, OCI_MANIFEST};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::registry::{Client, RegistryOptions};
use crate::store::{Shared, Store};

/// Layers fetched at the same time.
const PARALLEL: usize = 3;
/// Indexes within indexes that are followed.
const INDEX_DEPTH: u32 = 2;

/// When a registry is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// If the store does not have the reference.
    #[default]
    Missing,
    /// Always; what did not change is not fetched again.
    Always,
    /// Never.
    Never,
}

/// How an image is pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// For which platform; by default that of this machine.
    pub platform: Option<Platform>,
    /// How registries are reached.
    pub registry: RegistryOptions,
}

/// A manifest that was chosen, with what led to it.
struct Chosen {
    manifest: Manifest,
    raw: Vec<u8>,
    digest: Digest,
    /// What the reference itself leads to.
    remote_digest: Digest,
}

impl Store {
    /// Gets an image: from the store if the policy allows, else from its registry. The image is complete, verified
    /// and converted when this returns.
    ///
    /// Any number of pulls may run at once, in any number of processes; each layer is fetched by one of them.
    ///
    /// # Errors
    /// Those of registries, of verification and of the store; [`Error::NoSuchImage`] under [`PullPolicy::Never`].
    /// What was complete before a failure is kept and not fetched again.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &(impl Progress + Clone + 'static),
    ) -> Result<Image> {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        if options.policy != PullPolicy::Always {
            match self.resolve(reference)? {
                Some(image) if options.platform.is_none() || platform.admits(&image.platform) => {
                    let ready = image.clone();
                    blocking(move || ready.root()).await?;
                    return Ok(image);
                }
                _ if options.policy == PullPolicy::Never => {
                    return Err(Error::NoSuchImage(reference.to_string()));
                }
                _ => {}
            }
        }
        let paths = Arc::clone(&self.shared);
        let _in_use = blocking(move || paths.paths.lock_use()).await?;
        let client = Client::new(reference, &options.registry);
        let chosen = choose(&client, reference, &platform).await?;
        let shared = &self.shared;
        let config =
            fetch_config(shared, &client, &chosen.manifest.config, &platform, options, reference).await?;
        let config = ConfigDocument::parse(&config, chosen.manifest.layers.len())?;
        self.fetch_layers(&client, &chosen.manifest, &config, progress).await?;
        let (store, name) = (self.clone(), reference.to_string());
        let image = blocking(move || store.finish(&chosen, &config, &name)).await?;
        image.warnings()?.iter().for_each(|warning| progress.warning(warning));
        Ok(image)
    }

    async fn fetch_layers(
        &self,
        client: &Client,
        manifest: &Manifest,
        config: &ConfigDocument,
        progress: &(impl Progress + Clone + 'static),
    ) -> Result<()> {
        let budget = Arc::new(layer::Budget::new(&self.shared));
        let mut jobs: Vec<Job> = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(config.diff_ids()) {
            let info = LayerInfo {
                digest: layer.digest,
                size: layer.size,
                diff_id: *diff_id,
                media_type: layer.media_type.clone(),
            };
            if jobs.iter().all(|job| job.info.digest != info.digest || job.info.diff_id != info.diff_id) {
                jobs.push(Job { shared: Arc::clone(&self.shared), info, budget: Arc::clone(&budget) });
            }
        }
        layer::check_fetched(&self.shared, jobs.iter().map(|job| &job.info))?;
        let fetches = jobs.into_iter().map(|job| fetch_layer(client, job, progress.clone()));
        stream::iter(fetches).buffer_unordered(PARALLEL).try_collect::<()>().await
    }

    /// Converts the whole and makes the reference known.
    fn finish(&self, chosen: &Chosen, config: &ConfigDocument, name: &str) -> Result<Image> {
        let shared = &self.shared;
        layer::build(shared, &chosen.manifest.config.digest, config.diff_ids())?;
        shared.put_document("manifest", &chosen.digest, &chosen.raw)?;
        let media_type = chosen.manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST);
        let mut entry = Descriptor::new(media_type, chosen.digest, chosen.raw.len() as u64);
        entry.platform = Some(config.platform.clone());
        self.publish(entry, Some(name), Some(&chosen.remote_digest))
    }
}

/// Finds the manifest for a platform.
async fn choose(client: &Client, reference: &Reference, platform: &Platform) -> Result<Chosen> {
    let tag = reference.tag().unwrap_or("latest");
    let (mut raw, remote_digest) = client.manifest(tag, reference.digest()).await?;
    let mut digest = remote_digest;
    for _ in 0..=INDEX_DEPTH {
        let index: Index = match Document::parse(&raw)? {
            Document::Manifest(manifest) => return Ok(Chosen { manifest, raw, digest, remote_digest }),
            Document::Index(index) => index,
        };
        let entry = index.choose(platform).ok_or_else(|| Error::Platform {
            image: reference.to_string(),
            platform: platform.to_string(),
            available: index.platforms(),
        })?;
        (raw, digest) = client.manifest("", Some(&entry.digest)).await?;
    }
    Err(Error::Document { what: "index", reason: "indexes within indexes without end".into() })
}

async fn fetch_config(
    shared: &Arc<Shared>,
    client: &Client,
    config: &Descriptor,
    platform: &Platform,
    options: &PullOptions,
    reference: &Reference,
) -> Result<Vec<u8>> {
    const WHAT: &str = "image configuration";
    let raw = match shared.document(WHAT, &config.digest) {
        Ok(raw) => raw,
        Err(_) => {
            let raw = client.small_blob(config).await?;
            if raw.len() as u64 != config.size {
                let reason = format!("it has {} bytes, not {}", raw.len(), config.size);
                return Err(Error::Verification { what: WHAT, expected: config.digest, reason });
            }
            let (shared, digest) = (Arc::clone(shared), config.digest);
            blocking(move || shared.put_document(WHAT, &digest, &raw).map(|()| raw)).await?
        }
    };
    // An image without an index says here what it is for; a wish for another platform must not go unheard.
    let found: Platform = crate::manifest::read(WHAT, &raw)?;
    if (options.platform.is_some() || found.os != "linux") && !platform.admits(&found) {
        return Err(Error::Platform {
            image: reference.to_string(),
            platform: platform.to_string(),
            available: found.to_string(),
        });
    }
    Ok(raw)
}

/// Brings one layer into the store, unless it is there or another process is already bringing it.
async fn fetch_layer(client: &Client, job: Job, progress: impl Progress + 'static) -> Result<()> {
    if job.missing_or_count()?.is_none() {
        return Ok(());
    }
    let (download, feed) = client.download(job.info.digest, job.info.size);
    let take = blocking(move || {
        let _lock = job.shared.paths.lock_content(&job.info.digest)?;
        let Some(missing) = job.missing_or_count()? else { return Ok(()) };
        if missing.blob {
            return job.ingest(download, missing, &progress);
        }
        drop(download);
        layer::convert_blob(&job, &progress)
    });
    let ((), result) = futures::future::join(feed, take).await;
    result
}
