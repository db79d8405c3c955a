//! From a project's configuration to the sandboxes that it describes.

use super::{Instance, Need};
use crate::Error;
use crate::config::Project;

/// The sandboxes of `project`, replica by replica, in the order of the file.
///
/// # Errors
/// A service's description leads to no sandbox.
pub fn instances(project: &Project) -> Result<Vec<Instance>, Error> {
    let mut instances = Vec::new();
    for service in &project.config.services {
        let needs: Vec<_> = service
            .depends_on
            .iter()
            .map(|(name, how)| Need {
                service: name.clone(),
                condition: how.condition,
                required: how.required,
            })
            .collect();
        let spec = service.sandbox_spec(project)?;
        for number in 1..=u32::from(service.replicas) {
            let name = match &service.container_name {
                Some(name) => name.clone(),
                None => format!("{}-{}-{number}", project.name, service.name),
            };
            instances.push(Instance::new(
                &project.name,
                &service.name,
                number,
                needs.clone(),
                spec.clone(),
                name,
            )?);
        }
    }
    Ok(instances)
}
