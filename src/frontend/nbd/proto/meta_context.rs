//! The answers to the two options about metadata contexts.
//!
//! proto.md, `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`. Both carry an export
//! name and queries. A context is named once however many queries match it, so that the answer
//! is not longer than the list of contexts.

use super::agreed::Framing;
use super::bytes::Reader;
use super::bytes::put_u32;
use super::contexts::{Context, Contexts};
use super::export::ExportInfo;
use super::export::Exports;
use super::options;
use super::options::Negotiated;
use super::options::Refused;
use super::options::Selection;
use super::options::put_reply;
use super::wire::option;
use super::wire::option_reply;

/// What a listing says in place of an id, which only a selection gives.
const NO_ID: u32 = 0;

/// Tells which contexts the queries match; without queries, all.
pub(super) fn list(
    data: &[u8],
    negotiated: &Negotiated,
    exports: &dyn Exports,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let (export, queries) = parse(data, negotiated, exports)?;
    let contexts = matching(&export, |context| {
        let is_asked = |query: &&[u8]| {
            context.is_named(query, &export) || context.is_in_namespace(query, &export)
        };
        queries.is_empty() || queries.iter().any(is_asked)
    });
    for context in contexts.iter() {
        let name = context.name(&export);
        put_context(out, option::LIST_META_CONTEXT, NO_ID, &name);
    }
    Ok(())
}

/// Selects the contexts that the queries name. A namespace alone selects nothing: it would be up
/// to the server's taste what the client gets.
pub(super) fn set(
    data: &[u8],
    negotiated: &mut Negotiated,
    exports: &dyn Exports,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let (export, queries) = parse(data, negotiated, exports)?;
    let contexts = matching(&export, |context| {
        let mut queries = queries.iter();
        queries.any(|query| context.is_named(query, &export))
    });
    for context in contexts.iter() {
        let name = context.name(&export);
        put_context(out, option::SET_META_CONTEXT, context.id(), &name);
    }
    negotiated.selection = Some(Selection { export, contexts });
    Ok(())
}

/// The export and the queries. The lengths have to add up exactly.
fn parse<'a>(
    data: &'a [u8],
    negotiated: &Negotiated,
    exports: &dyn Exports,
) -> Result<(ExportInfo, Vec<&'a [u8]>), Refused> {
    if negotiated.framing == Framing::Simple {
        return Err(Refused::invalid("structured replies have to come first"));
    }
    let mut reader = Reader::new(data);
    let (Some(bytes), Some(count)) = (reader.string(), reader.u32()) else {
        return Err(Refused::MALFORMED);
    };
    // Grows with what is there, not with what `count` says is there.
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(reader.string().ok_or(Refused::MALFORMED)?);
    }
    if !reader.rest().is_empty() {
        return Err(Refused::MALFORMED);
    }
    let name = options::name(bytes)?;
    let export = exports.find(name).ok_or(Refused::UNKNOWN_EXPORT)?;
    Ok((export, queries))
}

fn matching(export: &ExportInfo, matches: impl Fn(Context) -> bool) -> Contexts {
    Context::of(export)
        .filter(|context| matches(*context))
        .fold(Contexts::NONE, Contexts::with)
}

fn put_context(out: &mut Vec<u8>, option: u32, id: u32, name: &str) {
    let mut payload = Vec::new();
    put_u32(&mut payload, id);
    payload.extend_from_slice(name.as_bytes());
    put_reply(out, option, option_reply::META_CONTEXT, &payload);
}
