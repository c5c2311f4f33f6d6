//! The answers to the two options about metadata contexts.
//!
//! proto.md, `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`. Both carry an export
//! name and queries. A context is named once however many queries match it, so that the answer
//! is not longer than the list of contexts.

use super::agreed::Framing;
use super::bytes::Reader;
use super::bytes::put_u32;
use super::contexts::Context;
use super::contexts::Contexts;
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
    let (_, queries) = parse(data, negotiated, exports)?;
    let contexts = if queries.is_empty() {
        Contexts::all()
    } else {
        matching(&queries, |context, query| {
            context.is_named(query) || context.is_in_namespace(query)
        })
    };
    for context in contexts.iter() {
        put_context(out, option::LIST_META_CONTEXT, NO_ID, context);
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
    let contexts = matching(&queries, Context::is_named);
    for context in contexts.iter() {
        put_context(out, option::SET_META_CONTEXT, context.id(), context);
    }
    negotiated.selection = Some(Selection {
        export: export.name,
        contexts,
    });
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

fn matching(queries: &[&[u8]], matches: impl Fn(Context, &[u8]) -> bool) -> Contexts {
    Context::ALL
        .into_iter()
        .filter(|context| queries.iter().any(|query| matches(*context, query)))
        .fold(Contexts::NONE, Contexts::with)
}

fn put_context(out: &mut Vec<u8>, option: u32, id: u32, context: Context) {
    let mut payload = Vec::new();
    put_u32(&mut payload, id);
    payload.extend_from_slice(context.name().as_bytes());
    put_reply(out, option, option_reply::META_CONTEXT, &payload);
}
