//! Generated code of package `brig.v1`, and its descriptors. Nothing else but how secrets are (not) shown.
#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

tonic::include_proto!("brig.v1");

/// Encoded `google.protobuf.FileDescriptorSet` with imports and comments, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/brig_descriptor.bin"));

impl std::fmt::Debug for env_entry::Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "Value({} bytes)", value.len()),
            Self::Secret(_) => f.write_str("Secret(…)"),
        }
    }
}

impl std::fmt::Debug for content::Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::FileId(id) => write!(f, "FileId({id})"),
        }
    }
}

impl std::fmt::Debug for EnvEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, content } = self;
        f.debug_struct("EnvEntry")
            .field("name", name)
            .field("content", content)
            .finish()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source } = self;
        f.debug_struct("Content").field("source", source).finish()
    }
}
