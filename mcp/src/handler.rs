//! The protocol's requests, answered by tools and resources.

use std::sync::Arc;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents, ResourceTemplate,
    ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, model};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::ToolError;
use crate::resources;
use crate::subscriptions::Subscriptions;
use crate::tools::{self, McpTool};
use crate::work::Call;

/// Answers the requests of one client.
#[derive(Clone, Debug)]
pub(crate) struct McpHandler {
    context: Context,
    /// Of this client, in the era with sessions.
    subscriptions: Arc<Subscriptions>,
}

impl McpHandler {
    pub(crate) fn new(context: Context) -> Self {
        let subscriptions = Arc::new(Subscriptions::new(context.clone()));
        Self { context, subscriptions }
    }

    fn allowed(&self) -> impl Iterator<Item = &'static McpTool> {
        let denied = &self.context.policy.tools.deny;
        tools::all().iter().filter(move |tool| !denied.iter().any(|name| name == tool.name))
    }

    async fn call(
        &self,
        tool: &'static McpTool,
        arguments: model::JsonObject,
        request: RequestContext<RoleServer>,
    ) -> Result<String, ToolError> {
        // What waits has been read and bounded.
        let prepared = tool.prepare(arguments)?;
        let call = Call::begin(&self.context, request).await?;
        prepared(call).await
    }

    /// Does short work for a resource.
    async fn resource<T: Send + 'static>(
        &self,
        request: RequestContext<RoleServer>,
        work: impl FnOnce(&Context) -> Result<T, ToolError> + Send + 'static,
    ) -> Result<T, ErrorData> {
        let done = async {
            let call = Call::begin(&self.context, request).await?;
            call.blocking(None, move |context, _| work(context)).await
        };
        done.await.map_err(|error| ErrorData::resource_not_found(error.0, None))
    }

    fn instructions(&self) -> String {
        let policy = &self.context.policy;
        let paths: Vec<_> = policy
            .paths
            .iter()
            .map(|path| {
                let how = if path.write { "read and written" } else { "read only" };
                format!("{} ({how})", path.root.display())
            })
            .collect();
        let paths = if paths.is_empty() { "none".to_owned() } else { paths.join(", ") };
        let limits = &policy.sandboxes;
        format!(
            "Sandboxes are microVMs: code in them cannot touch this machine. Use run_code for one piece of code; for work in \
             several steps use create_sandbox once, then exec, read_file and write_file, and remove_sandbox at the end. \
             Output that is too long is cut in the middle, and the result says so. Allowed images: {}. Paths of the host \
             that upload, download and mounts may use: {paths}. Limits: {} sandboxes, each with up to {} MiB of memory and \
             {} CPUs; a call takes up to {} s (default {} s).",
            policy.images.allow.list(),
            limits.max,
            limits.max_memory_mib,
            limits.max_cpus,
            policy.time.max_call_seconds,
            policy.time.default_call_seconds,
        )
    }
}

impl ServerHandler for McpHandler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("monocore", self.context.host.version.clone()))
            .with_instructions(self.instructions())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.allowed().map(McpTool::describe).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.allowed().find(|tool| tool.name == name).map(McpTool::describe)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.allowed().find(|tool| tool.name == request.name) else {
            let name: String = request.name.chars().take(64).collect();
            return Err(ErrorData::invalid_params(format!("no such tool: {name}"), None));
        };
        let done = self.call(tool, request.arguments.unwrap_or_default(), context).await;
        let result = match done {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(error) => CallToolResult::error(vec![ContentBlock::text(error.0)]),
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        request: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.resource(request, resources::list).await.map(ListResourcesResult::with_all_items)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let logs = ResourceTemplate::new(resources::template(), "logs")
            .with_title("Logs of a sandbox")
            .with_description("The last output of a sandbox's own command; SANDBOX is its name or ID")
            .with_mime_type("text/plain");
        Ok(ListResourceTemplatesResult::with_all_items(vec![logs]))
    }

    async fn read_resource(
        &self,
        wanted: ReadResourceRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = wanted.uri.clone();
        let read = move |context: &Context| {
            let entry = resources::find(context, &uri)?;
            resources::logs(context, &entry, None, resources::LINES, resources::BYTES, &|| false)
        };
        let lines = self.resource(request, read).await?;
        let text = match lines.left_out {
            0 => lines.text,
            count => {
                format!("[… {count} earlier lines left out; the tool logs shows more …]\n{}", lines.text)
            }
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, wanted.uri)]).into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let uris = requested.resource_subscriptions.clone().unwrap_or_default();
        Some(SubscriptionFilter::builder().resource_subscriptions(uris).build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let uris = subscription.accepted().resource_subscriptions.clone().unwrap_or_default();
        let (told, mut changed) = mpsc::channel::<String>(16);
        let followers = Subscriptions::new(self.context.clone());
        for uri in uris {
            let told = told.clone();
            followers.add(uri, move |uri| drop(told.try_send(uri.to_owned()))).await.map_err(not_found)?;
        }
        loop {
            tokio::select! {
                Some(uri) = changed.recv() => {
                    if subscription.sink().notify_resource_updated(uri).await.is_err() {
                        return Ok(());
                    }
                }
                () = subscription.cancelled() => return Ok(()),
            }
        }
    }

    async fn subscribe(
        &self,
        wanted: SubscribeRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (peer, runtime) = (request.peer, tokio::runtime::Handle::current());
        let tell = move |uri: &str| {
            let told = model::ResourceUpdatedNotificationParam::new(uri);
            // Whoever is gone is told nothing.
            let _ = runtime.block_on(peer.notify_resource_updated(told));
        };
        self.subscriptions.add(wanted.uri, tell).await.map_err(not_found)
    }

    async fn unsubscribe(
        &self,
        wanted: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscriptions.remove(&wanted.uri);
        Ok(())
    }
}

fn not_found(error: ToolError) -> ErrorData {
    ErrorData::resource_not_found(error.0, None)
}
