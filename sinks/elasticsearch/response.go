package elasticsearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/ttydrain/ttydrain/sinks"
)

// bulkAnswer is the response to a bulk request, reduced by filter_path.
type bulkAnswer struct {
	Errors bool `json:"errors"`
	Items  []struct {
		Create itemAnswer `json:"create"`
	} `json:"items"`
}

type itemAnswer struct {
	Status int `json:"status"`
	// FailureStore is "used" if the document is not in the data stream but in its failure store,
	// among those that could not be indexed (Elasticsearch 8.19 and later).
	FailureStore string      `json:"failure_store"`
	Error        errorAnswer `json:"error"`
}

// errorAnswer is Elasticsearch's description of a failure. Reason may quote the request, even all
// of it: it is read and never passed on.
type errorAnswer struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// readItems reads the response to a bulk request of n entries of the batch from first on, and
// returns those that were not delivered.
func readItems(data []byte, first, n int, o Options) ([]sinks.Item, *sinks.Error) {
	if allCreated(data, n) {
		return nil, nil
	}
	var a bulkAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, notUnderstood("it is not JSON of the expected form") // err could quote it
	}
	if len(a.Items) != n {
		return nil, notUnderstood(fmt.Sprintf("it has %d records instead of %d", len(a.Items), n))
	}
	var failed []sinks.Item
	for i := range a.Items {
		item := &a.Items[i].Create
		verdict, reason, advice := judge(item, o)
		if reason == "" {
			continue
		}
		failed = append(failed, sinks.Item{Index: first + i, Verdict: verdict, Status: item.Status, Reason: reason, Advice: advice})
	}
	if a.Errors && len(failed) == 0 && !hasConflict(&a) {
		return nil, notUnderstood("it reports errors, but no record that failed")
	}
	return failed, nil
}

// allCreated reports whether a response is the one that Elasticsearch writes when it has created
// all n records. That is the usual one, and decoding it as JSON takes as long as making the
// request.
func allCreated(data []byte, n int) bool {
	if !bytes.HasPrefix(data, []byte(`{"errors":false,"items":[{"create":{`)) || !bytes.HasSuffix(data, []byte(`}}]}`)) {
		return false
	}
	return bytes.Count(data, []byte(`{"create":{`)) == n && bytes.Count(data, []byte(`"status":201`)) == n && bytes.Count(data, []byte(`"status":`)) == n &&
		!bytes.Contains(data, []byte(`"used"`)) && !bytes.Contains(data, []byte(`"error":`))
}

func hasConflict(a *bulkAnswer) bool {
	for i := range a.Items {
		if a.Items[i].Create.Status == http.StatusConflict {
			return true
		}
	}
	return false
}

func notUnderstood(what string) *sinks.Error {
	return &sinks.Error{Verdict: sinks.Retry, Status: http.StatusOK, Reason: "the answer is not understood (" + what + ")",
		Advice: "see what stands between ttydrain and Elasticsearch if this persists"}
}

// judge returns the result for one record; reason is "" if it is in the data stream.
//
// The status alone is ambiguous: 400 can be caused by the record, the request's pipeline or the
// index, and 403 by missing privileges or a full disk.
func judge(item *itemAnswer, o Options) (_ sinks.Verdict, reason, advice string) {
	status := item.Status
	switch {
	case item.FailureStore == "used":
		return sinks.Rejected, "Elasticsearch could not index the record and put it into the failure store of the data stream " + o.DataStream, "look for it there"
	case item.Error.Type == "" && status/100 == 2:
		return 0, "", ""
	case status == http.StatusConflict && item.Error.Type == "version_conflict_engine_exception":
		return 0, "", "" // it was written before
	}
	kind := kindOf(item.Error.Type)
	says := fmt.Sprintf("%s answered %d (%s)", o.Product, status, kind)
	switch kind {
	case "cluster_block_exception":
		return sinks.Retry, says + ": the index takes no writes", "free disk space, or remove the index's block (index.blocks), if this persists"
	case "es_rejected_execution_exception", "opensearch_rejected_execution_exception", "rejected_execution_exception":
		return sinks.Retry, says + ": the cluster is busy", "give it more resources if this persists"
	case "security_exception":
		return sinks.Misconfigured, says + ": " + notPermitted, grant(o)
	case "index_closed_exception":
		return sinks.Misconfigured, says + ": the index behind the data stream " + o.DataStream + " is closed", "open it, or roll the data stream over"
	case "invalid_index_name_exception":
		return sinks.Misconfigured, says, "correct data_stream"
	case "validation_exception":
		return sinks.Misconfigured, says + ": no index can be created for the data stream " + o.DataStream, "raise the cluster's limit of shards, or delete indices"
	}
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		return sinks.Retry, says + ": the cluster is busy or in trouble", "look into its health if this persists"
	case status == http.StatusNotFound:
		return sinks.Misconfigured, says + ": " + o.DataStream + " is no data stream and no index template makes it one", "install the template, let ttydrain do it (manage_template), or correct data_stream"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return sinks.Misconfigured, says + ": " + notPermitted, grant(o)
	case isMissingPipeline(item.Error):
		missing, advice := missingPipeline(o)
		return sinks.Misconfigured, says + ": " + missing, advice
	case status == http.StatusBadRequest:
		return sinks.Rejected, says + ": the record does not fit the mapping of the data stream " + o.DataStream + ", or its pipeline refused it", "compare the mapping with that of ttydrain's index template"
	default:
		return sinks.Retry, says, "look into Elasticsearch's log"
	}
}

// isMissingPipeline reports whether the error is a pipeline that does not exist, and not a refused
// record. Only the text of the error distinguishes them.
func isMissingPipeline(e errorAnswer) bool {
	return e.Type == "illegal_argument_exception" && strings.HasPrefix(e.Reason, "pipeline with id [") && strings.HasSuffix(e.Reason, "] does not exist")
}

func missingPipeline(o Options) (reason, advice string) {
	if o.Pipeline == "" {
		return "the ingest pipeline that the data stream " + o.DataStream + " has by default does not exist", "create it, or remove it from the index settings"
	}
	return "the ingest pipeline " + o.Pipeline + " does not exist", "create it, or correct pipeline"
}

const notPermitted = "the credentials do not permit it"

func grant(o Options) string {
	if o.Product == OpenSearch {
		return "give the user's role the cluster permission cluster_composite_ops and, on the data stream " + o.DataStream +
			", the index permissions write and create_index"
	}
	return "give the credentials the index privileges create_doc and, until it exists, auto_configure on the data stream " + o.DataStream
}

// kindOf returns the type of an error, if it looks like one: it is shown, so it must not be
// anything else.
func kindOf(s string) string {
	if s == "" || len(s) > 80 {
		return "no reason"
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return "no reason"
		}
	}
	return s
}
