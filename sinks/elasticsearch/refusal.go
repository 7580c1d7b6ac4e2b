package elasticsearch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// refusal returns the error for a response to a whole request that is not 200.
func (s *Sink) refusal(a answer) *sinks.Error {
	failure := readFailure(a.body)
	e := &sinks.Error{Status: a.status, RetryAfter: sinks.RetryAfter(a.header, time.Now())}
	o := s.known()
	says := fmt.Sprintf("%s answered %d (%s): ", s.products(), a.status, kindOf(failure.Type))
	switch status := a.status; {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		e.Verdict, e.Reason, e.Advice = sinks.Retry, says+"the cluster is busy or in trouble", "look into its health if this persists"
	case failure.Type == "cluster_block_exception":
		e.Verdict, e.Reason, e.Advice = sinks.Retry, says+"the cluster takes no writes", "remove its block (cluster.blocks) if this persists"
	case status == http.StatusUnauthorized && s.options.APIKey == "" && s.options.Username == "":
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it asks for credentials", "set api_key, or username and password"
	case status == http.StatusUnauthorized && s.options.APIKey != "" && o.Product == OpenSearch:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it has no API keys", "set username and password in place of api_key"
	case status == http.StatusUnauthorized && s.options.APIKey != "":
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it does not accept the API key", "set api_key to one that is valid"
	case status == http.StatusUnauthorized:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it does not accept the user name and password", "correct username and password"
	case status == http.StatusForbidden:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+notPermitted, grant(o)
	case status == http.StatusProxyAuthRequired:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"the proxy refuses the credentials", "correct the user and password in HTTP_PROXY, or in proxy"
	case status == http.StatusMisdirectedRequest:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"what answers there does not serve this host name on the connection", "set urls and server_name to the same host"
	case status == http.StatusUnavailableForLegalReasons:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it refuses for legal reasons, such as the country that the request comes from", "set urls to other addresses, or look for the reason at the cluster"
	case status == http.StatusRequestEntityTooLarge:
		e.Verdict, e.Reason, e.Advice = sinks.TooLarge, says+"the request is too large for it", "lower max_request_bytes, or raise http.max_content_length"
	case status == http.StatusGone:
		e.Verdict, e.Reason, e.Advice = sinks.Gone, says+"what was there is gone for good", "remove the drain, or correct urls"
	case status == http.StatusBadRequest && strings.Contains(failure.Reason, "unrecognized parameter"):
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it does not know a parameter of the request", "install Elasticsearch 8.13 or later, or set product if it is OpenSearch"
	case status == http.StatusBadRequest:
		e.Verdict, e.Reason, e.Advice = sinks.Rejected, says+"the request is not acceptable", "see what stands before Elasticsearch"
	case status/100 == 3:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"it points to another address", "set urls to that of Elasticsearch itself"
	default:
		e.Verdict, e.Reason, e.Advice = sinks.Misconfigured, says+"what answers there does not take records", "correct urls (host, port and path), and see what stands before Elasticsearch"
	}
	return e
}

// readFailure reads the response to a request that failed. It returns the zero errorAnswer for
// other forms than Elasticsearch's: a proxy may have answered, and some of Elasticsearch's answers
// are plain text.
func readFailure(data []byte) errorAnswer {
	var a struct{ Error json.RawMessage }
	var e errorAnswer
	if json.Unmarshal(data, &a) != nil || json.Unmarshal(a.Error, &e) != nil {
		return errorAnswer{}
	}
	return e
}
