// Package elasticsearch is the sink that writes records into an Elasticsearch data stream, with the
// bulk API. It needs Elasticsearch 8.13 or later, or OpenSearch 2.4 or later.
//
// # Identity
//
// A document's _id is the operation's ID, the moment at which the operation started (in base 36),
// and the record's sequence: "4711-dh2lmgh9gz7w-12". A record that is written again is found to be
// there already and does no harm. The moment is part of it so that two installations of ttydrain,
// or one whose store was begun anew, do not take each other's records for their own.
//
// A gap of records, which says that this drain misses some from a sequence on, has "-gap" behind
// it: the first of them may be there all the same, from a write whose answer was lost.
//
// This holds within one backing index. Where the data stream was rolled over between a write whose
// answer was lost and its repeat, the record is there twice, with the same _id.
//
// # Mapping
//
// Before the first record the sink installs an index template for exactly its data stream
// ([IndexTemplate]), with priority 500, over Elasticsearch's own templates for "logs-*-*". Fields
// that it does not know, such as those that an ingest pipeline adds, are mapped by Elasticsearch as
// they come, texts as keywords: refusing them would lose records, and not mapping them would hide
// what somebody has added on purpose. The fields of a record are always the same, so what people
// see in sessions never makes one. "text" is what is searched, without the characters that nobody
// sees, such as zero-width spaces: see the analyzer in the template. "log", which has the exact
// text with all escape sequences, is kept and not indexed. What does not fit its field (a number
// above that of a long, a word above 8191 characters) is kept and not indexed, and no reason to
// refuse a record. The template switches the lifecycle of data streams on, so that the data stream
// is rolled over; nothing is ever deleted until somebody sets a retention. That, and other
// settings, are for the component template "ttydrain@custom", which the template takes in where
// there is one, and which ttydrain never writes.
//
// The template is installed when there is none, or an older version that ttydrain installed. One
// with another _meta.managed_by, or with a version as high or higher, is left as it is: that is how
// to keep a change of one's own. An installed template is of effect for the indexes that are
// created from then on. Credentials that may not manage index templates are no error: it is logged
// once, and the data stream is used as it is. What is not a data stream is never written to.
//
// # Privileges
//
// On the data stream: create_doc, and auto_configure until it exists. On the cluster, for
// installing the template: manage_index_templates. For [Sink.Probe] to see whether a pipeline
// exists: read_pipeline. For [sinks.Try] to tell whether the fields are mapped as searches and
// dashboards need them: view_index_metadata on the data stream. Nothing has to be read.
//
// # OpenSearch
//
// The sink asks the server which [Product] it is, before the first record. OpenSearch knows no
// require_data_stream, so that the sink creates the data stream explicitly; its index template is
// [OpenSearchTemplate]; it has no API keys.
//
// # Not guaranteed
//
// Order between operations: several requests are under way at a time, each with other operations'
// records. Those of one operation are written in their order, and have their sequence. What an
// ingest pipeline does with a record is its owner's decision: one that drops or changes records
// does so unseen. Documents become searchable when Elasticsearch refreshes the index, a second or
// so after Write returned.
package elasticsearch
