//! Rules of the wire contract, checked on its descriptors: a copy of what `buf lint` checks, without `buf`, and the
//! project's own.

#[cfg(test)]
mod tests {
    use brig_api::FILE_DESCRIPTOR_SET;
    use prost::Message;
    use prost_types::field_descriptor_proto::Type;
    use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
    use std::collections::BTreeSet;

    fn files() -> Vec<FileDescriptorProto> {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ours: Vec<_> = set
            .file
            .into_iter()
            .filter(|file| file.package() == "brig.v1")
            .collect();
        assert!(!ours.is_empty());
        ours
    }

    fn messages() -> Vec<DescriptorProto> {
        let mut found = Vec::new();
        let mut open: Vec<DescriptorProto> = files().into_iter().flat_map(|file| file.message_type).collect();
        while let Some(message) = open.pop() {
            open.extend(message.nested_type.iter().cloned());
            found.push(message);
        }
        // Entries of maps are made by the compiler.
        found.retain(|message| {
            !message
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
        });
        found
    }

    fn enums() -> Vec<EnumDescriptorProto> {
        let nested = messages().into_iter().flat_map(|message| message.enum_type);
        files()
            .into_iter()
            .flat_map(|file| file.enum_type)
            .chain(nested)
            .collect()
    }

    fn screaming(camel: &str) -> String {
        let mut text = String::new();
        for (index, letter) in camel.char_indices() {
            if letter.is_ascii_uppercase() && index > 0 {
                text.push('_');
            }
            text.push(letter.to_ascii_uppercase());
        }
        text
    }

    #[test]
    fn every_part_has_a_comment() {
        let mut checked = 0;
        for file in files() {
            let info = file.source_code_info.as_ref().unwrap();
            for location in &info.location {
                // Paths of declarations alternate a kind and an index; others are parts of one.
                let declares = match location.path.as_slice() {
                    [4, _] | [4, _, 2 | 3 | 8, _] | [5, _] | [5, _, 2, _] | [6, _] | [6, _, 2, _] => true,
                    [4, _, 3, _, rest @ ..] => matches!(rest, [2 | 8, _]),
                    _ => false,
                };
                checked += usize::from(declares);
                let commented = !location.leading_comments().trim().is_empty();
                assert!(
                    commented || !declares,
                    "{} {:?} {:?}",
                    file.name(),
                    location.path,
                    location.span
                );
            }
        }
        // Were the paths misread, nothing would be checked.
        assert!(checked > 200, "{checked}");
    }

    #[test]
    fn zero_is_unspecified_and_values_begin_with_their_enum() {
        for kind in enums() {
            let prefix = screaming(kind.name());
            for value in &kind.value {
                assert!(
                    value.name().starts_with(&format!("{prefix}_")),
                    "{}",
                    value.name()
                );
                assert_eq!(
                    value.number() == 0,
                    value.name() == format!("{prefix}_UNSPECIFIED")
                );
            }
        }
    }

    #[test]
    fn sizes_name_their_unit_and_spans_are_durations() {
        // Numbers of events, which are no sizes.
        let numbers = BTreeSet::from(["seq", "from_seq", "to_seq", "last_seq"]);
        for message in messages() {
            for field in &message.field {
                let at = format!("{}.{}", message.name(), field.name());
                if field.r#type() == Type::Uint64 {
                    assert!(
                        field.name().ends_with("_bytes") || numbers.contains(field.name()),
                        "{at}"
                    );
                }
                let span = field.name().ends_with("_seconds") || field.name().ends_with("_millis");
                assert!(
                    !span || field.name() == "cpu_millis",
                    "{at} must be a google.protobuf.Duration"
                );
                let float = matches!(field.r#type(), Type::Float | Type::Double);
                assert!(!float, "{at}: a float can be NaN");
            }
        }
    }

    #[test]
    fn every_call_has_messages_of_its_own() {
        let mut used = BTreeSet::new();
        for service in files().into_iter().flat_map(|file| file.service) {
            assert!(service.name().ends_with("Service"));
            for method in &service.method {
                for (name, suffix) in [
                    (method.input_type(), "Request"),
                    (method.output_type(), "Response"),
                ] {
                    let short = format!(".brig.v1.{}{suffix}", method.name());
                    let long = format!(".brig.v1.{}{}{suffix}", service.name(), method.name());
                    assert!(name == short || name == long, "{name}");
                    assert!(used.insert(name.to_owned()), "{name} is used twice");
                }
            }
        }
        assert_eq!(used.len(), 24);
    }
}
