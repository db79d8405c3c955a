//! Images that the policy allows, from the store or from their registries.

use std::sync::Arc;

use monocore_oci::{Image, PullOptions, PullPolicy, Reference};
use monocore_orchestrator::images::open_store;
use tokio::sync::watch;

use crate::error::ToolError;
use crate::policy::Policy;
use crate::progress::Pulled;
use crate::work::Call;

/// What is to be done for an image.
enum Need {
    Ready,
    Pull(Reference),
}

/// Sees to it that the store has the image. A pull is cancelled with its call.
///
/// # Errors
/// The policy forbids the image, or it cannot be fetched.
pub(crate) async fn ensure(call: &Call, name: &str) -> Result<(), ToolError> {
    let wanted = name.to_owned();
    let need = call.blocking(None, move |context, _| {
        let found = match open_store(context.home())?.find(&wanted) {
            Ok(image) => Some(image),
            Err(monocore_oci::Error::NoSuchImage(_) | monocore_oci::Error::Reference { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        judge(&context.policy, &wanted, found.as_ref())
    });
    match need.await? {
        Need::Ready => Ok(()),
        Need::Pull(reference) => pull(call, reference).await.map(drop),
    }
}

fn judge(policy: &Policy, wanted: &str, found: Option<&Image>) -> Result<Need, ToolError> {
    // An ID is judged by the name of its image.
    let name = found.and_then(|image| image.reference.as_deref());
    let reference = name.unwrap_or(wanted).parse::<Reference>();
    let is_allowed = reference.as_ref().is_ok_and(|reference| policy.images.allow.matches(reference));
    match found {
        Some(_) if policy.images.stored || is_allowed => return Ok(Need::Ready),
        Some(_) => return Err(forbidden(policy, wanted)),
        None => {}
    }
    let reference = reference.map_err(|error| ToolError::value("image", error))?;
    check_pull(policy, &reference)?;
    Ok(Need::Pull(reference))
}

/// Whether a registry may be asked for the image.
pub(crate) fn check_pull(policy: &Policy, reference: &Reference) -> Result<(), ToolError> {
    if !policy.images.allow.matches(reference) {
        return Err(forbidden(policy, &reference.familiar()));
    }
    if !policy.images.pull {
        let problem = format!("{} is not in the store, and none can be fetched", reference.familiar());
        return Err(ToolError::policy("image", problem));
    }
    Ok(())
}

fn forbidden(policy: &Policy, image: &str) -> ToolError {
    let allowed = policy.images.allow.list();
    ToolError::policy("image", format!("{image} is not an allowed image ({allowed})"))
}

/// Fetches an image from its registry.
pub(crate) async fn pull(call: &Call, reference: Reference) -> Result<(Image, Vec<String>), ToolError> {
    (call.context.host.before_pull)()?;
    let (count, seen) = watch::channel(0);
    let name = reference.familiar();
    let _told = call.tell(seen, move |bytes| format!("{name}: {} MiB fetched", bytes >> 20));
    let progress = Arc::new(Pulled::new(count));
    let store = open_store(call.context.home())?;
    let options = PullOptions { policy: PullPolicy::Always, ..PullOptions::default() };
    let image = call.within(store.pull(&reference, &options, &progress)).await?;
    Ok((image, progress.warnings()))
}
