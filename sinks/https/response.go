package https

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// judge returns the error that a response stands for, or nil for success. It uses only the status,
// Retry-After and the host in Location: the rest could echo the request.
func judge(host string, response *http.Response) *sinks.Error {
	status := response.StatusCode
	verdict, reason, advice := classify(status)
	if verdict == delivered {
		return nil
	}
	e := &sinks.Error{Verdict: verdict, Status: status}
	switch {
	case status >= 300 && status < 400:
		reason, advice = "redirects are not followed", "set url to the drain's new address"
		if target := locationHost(response); target != "" {
			reason = "it points to " + target + "; " + reason
		}
	case verdict == sinks.Retry:
		e.RetryAfter = sinks.RetryAfter(response.Header, time.Now())
	}
	e.Reason, e.Advice = host+" answered "+statusText(status)+": "+reason, advice
	return e
}

// delivered is the verdict of a success, beside those of an Error.
const delivered sinks.Verdict = 0xff

// classify is the table of status codes (RFC 9110 §15).
func classify(status int) (verdict sinks.Verdict, reason, advice string) {
	switch {
	case status >= 200 && status < 300:
		return delivered, "", ""
	case status >= 300 && status < 400:
		return sinks.Misconfigured, "", "" // the reason and the advice are in judge
	case status >= 500 && status != http.StatusHTTPVersionNotSupported && status != http.StatusNetworkAuthenticationRequired:
		return sinks.Retry, "the drain is broken or overloaded", "look into its log if this persists"
	}
	switch status {
	case http.StatusUnauthorized:
		return sinks.Misconfigured, "it refuses the credentials", "correct the key or token, or the user and password, that the drain is set to send"
	case http.StatusForbidden:
		return sinks.Misconfigured, "the credentials do not permit writing", "give them the permission at the drain, or set others"
	case http.StatusNotFound:
		return sinks.Misconfigured, "there is nothing at this path", "correct url"
	case http.StatusMethodNotAllowed:
		return sinks.Misconfigured, "this path does not take POST", "correct url"
	case http.StatusProxyAuthRequired:
		return sinks.Misconfigured, "the proxy refuses the credentials", "correct the user and password in HTTPS_PROXY, or in proxy"
	case http.StatusRequestTimeout:
		return sinks.Retry, "the request took the drain too long", "look into its log if this persists"
	case http.StatusTooEarly, http.StatusTooManyRequests:
		return sinks.Retry, "the drain asks for a pause", "raise its limit of requests if this persists"
	case http.StatusRequestEntityTooLarge:
		return sinks.TooLarge, "the request is too large for it", "lower max_request_bytes, or raise the drain's limit"
	case http.StatusGone:
		return sinks.Gone, "the drain has ceased to exist", "remove it, or correct url"
	// With these the drain refuses every request: to give up records would lose all of them.
	case http.StatusMisdirectedRequest:
		return sinks.Misconfigured, "it does not serve this host name on the connection", "set url and server_name to the same host, the one that the drain serves"
	case http.StatusNotAcceptable:
		return sinks.Misconfigured, "it cannot answer in a form that ttydrain accepts, and ttydrain accepts all", "correct url, and the header Accept where headers has one"
	case http.StatusLengthRequired, http.StatusExpectationFailed, http.StatusUpgradeRequired, http.StatusHTTPVersionNotSupported:
		return sinks.Misconfigured, "it does not take requests of HTTP/1.1 with a Content-Length, as ttydrain sends them", "correct url, and see what stands before the drain"
	case http.StatusPreconditionFailed, http.StatusPreconditionRequired:
		return sinks.Misconfigured, "it demands a condition (If-Match and the like), which requests that add records do not have", "correct url, or remove such headers from headers"
	case http.StatusRequestURITooLong:
		return sinks.Misconfigured, "the URL is too long for it", "shorten url"
	case http.StatusLocked, http.StatusFailedDependency:
		return sinks.Misconfigured, "what it would write to is locked or not ready", "correct url, or unlock it at the drain"
	case http.StatusUnavailableForLegalReasons:
		return sinks.Misconfigured, "it refuses for legal reasons, such as the country that the request comes from", "set url to another address, or look for the reason at the drain"
	case http.StatusNetworkAuthenticationRequired:
		return sinks.Misconfigured, "the network demands a login before it lets requests through", "see what stands before the drain, and permit the drain's host there"
	case http.StatusPaymentRequired:
		return sinks.Misconfigured, "the account at the drain does not permit writing", "renew it or its quota"
	case http.StatusUnsupportedMediaType:
		return sinks.Misconfigured, "it does not take this format or compression", "set format and gzip as the drain expects"
	case http.StatusRequestHeaderFieldsTooLarge:
		return sinks.Misconfigured, "the headers are too large for it", "shorten headers"
	default:
		return sinks.Rejected, "it does not take one of the records, or the format", "set format as the drain expects"
	}
}

// statusText uses the words of the RFC, never the drain's own.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return strconv.Itoa(status)
}

// locationHost returns the host that a redirect points to, if it looks like one.
func locationHost(response *http.Response) string {
	u, err := url.Parse(response.Header.Get("Location"))
	if err != nil {
		return ""
	}
	host := u.Host
	if host == "" && u.Path != "" {
		return "another path of the same host"
	}
	if len(host) > 255 || strings.ContainsFunc(host, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-.:[]", r))
	}) {
		return ""
	}
	return host
}
