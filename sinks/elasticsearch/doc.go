// Package elasticsearch is the sink that writes records to an Elasticsearch data stream with the
// bulk API. It requires Elasticsearch 8.13 or later, or OpenSearch 2.4 or later.
//
// # Identity
//
// A document's _id consists of the operation's ID, its start time (in base 36), and the record's
// sequence: "4711-dh2lmgh9gz7w-12". A record that is written again exists already, which is a
// success. The start time keeps apart the records of two installations of ttydrain, or of one whose
// store was replaced.
//
// The _id of a gap, which reports records that this drain misses from a sequence on, ends with
// "-gap": the first of them may exist nevertheless, from a write whose response was lost.
//
// This holds within one backing index. If the data stream was rolled over between a write whose
// answer was lost and its repeat, the record exists twice, with the same _id.
//
// # Mapping
//
// Before the first record the sink installs an index template for exactly its data stream
// ([IndexTemplate]), with priority 500, over Elasticsearch's own templates for "logs-*-*". Fields
// that it does not know, such as those that an ingest pipeline adds, are mapped dynamically by
// Elasticsearch, texts as keywords: to refuse them would lose records, and not to map them would
// hide fields that were added on purpose. The fields of a record are always the same, so the
// content of sessions never creates one. Searches use "text", without invisible characters such as
// zero-width spaces: see the analyzer in the template. "log", the exact text with all escape
// sequences, is stored and not indexed. A value that does not fit its field (a number larger than a
// long, a word of more than 8191 characters) is stored and not indexed, and the record is accepted.
// The template enables the lifecycle of data streams, so that the data stream is rolled over;
// nothing is deleted until a retention is set. That and other settings belong into the component
// template "ttydrain@custom", which the template includes if it exists, and which ttydrain never
// writes.
//
// The template is installed if there is none, or only an older version that ttydrain installed. One
// with another _meta.managed_by, or with the same or a higher version, is left as it is, so an
// operator's changes can be kept. An installed template applies to the indexes that are created
// afterwards. Credentials that may not manage index templates are not an error: a warning is logged
// once, and the data stream is used as it is. Only data streams are ever written to.
//
// # Privileges
//
// On the data stream: create_doc, and auto_configure until it exists. On the cluster, for
// installing the template: manage_index_templates. For [Sink.Probe] to find out whether a pipeline
// exists: read_pipeline. For [sinks.Try] to report whether the fields are mapped as searches and
// dashboards need them: view_index_metadata on the data stream. No privilege to read is needed.
//
// # OpenSearch
//
// The sink asks the server which [Product] it is, before the first record. OpenSearch does not know
// require_data_stream, so the sink creates the data stream explicitly; its index template is
// [OpenSearchTemplate]; it has no API keys.
//
// # Not guaranteed
//
// Order between operations: several requests are in flight at a time, each with records of other
// operations. The records of one operation are written in order, and have their sequence. An ingest
// pipeline that drops or changes records does so without ttydrain's knowledge. Documents become
// searchable when Elasticsearch refreshes the index, about a second after Write returned.
package elasticsearch
