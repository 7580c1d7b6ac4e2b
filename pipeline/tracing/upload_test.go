package tracing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestUpload sends spans to collectors that answer each request in turn, the last answer again and
// again.
func TestUpload(t *testing.T) {
	const secret = "hunter2"
	type answer struct {
		status int
		body   []byte
	}
	partial, err := proto.Marshal(&collector.ExportTraceServiceResponse{
		PartialSuccess: &collector.ExportTracePartialSuccess{ErrorMessage: secret, RejectedSpans: 3}})
	if err != nil {
		t.Fatal(err)
	}
	warned, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{ErrorMessage: secret}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		answers  []answer
		requests int
		want     string // in the error; "" for none
	}{
		"accepted":          {[]answer{{200, nil}}, 1, ""},
		"accepted, warning": {[]answer{{200, warned}}, 1, ""},
		"not protobuf":      {[]answer{{200, []byte(secret)}}, 1, ""},
		"rejected":          {[]answer{{200, partial}}, 1, "rejected 3 spans"},
		"busy":              {[]answer{{503, nil}, {429, nil}, {200, nil}}, 3, ""},
		"broken connection": {[]answer{{0, nil}, {200, nil}}, 2, ""},
		"refused":           {[]answer{{401, []byte(secret)}}, 1, "the collector answered 401 Unauthorized"},
		"redirected":        {[]answer{{304, nil}}, 1, "answered 304"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := test.answers[min(requests, len(test.answers)-1)]
				requests++
				if a.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(a.status)
				w.Write(a.body)
			}))
			u := &uploader{endpoint: server.URL + "/v1/traces?key=" + secret, client: &http.Client{Timeout: exportTimeout}, first: time.Millisecond}
			err := u.UploadTraces(t.Context(), []*v1.ResourceSpans{{SchemaUrl: "x"}})
			server.Close()
			switch {
			case (err == nil) != (test.want == ""):
				t.Errorf("the error is %v, want %q", err, test.want)
			case err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), secret)):
				t.Errorf("the error is %q, want %q", err, test.want)
			}
			if requests != test.requests {
				t.Errorf("%d requests, want %d", requests, test.requests)
			}
		})
	}
}

func FuzzRejectedSpans(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x03})
	f.Add([]byte{0x0a, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var want collector.ExportTraceServiceResponse
		if proto.Unmarshal(data, &want) != nil {
			rejectedSpans(data) // must end
			return
		}
		if got := rejectedSpans(data); got != want.GetPartialSuccess().GetRejectedSpans() {
			t.Errorf("%d rejected, want %d", got, want.GetPartialSuccess().GetRejectedSpans())
		}
	})
}
