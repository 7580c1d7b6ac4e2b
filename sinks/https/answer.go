package https

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/sinks"
)

// maxRetryAfter bounds what a drain may ask for: a mistake in a header must not silence a drain for years.
const maxRetryAfter = 24 * time.Hour

// judge says what an answer means; nil is success. It uses nothing of the answer but its status,
// Retry-After and the host in Location: the rest could echo what was sent.
func judge(host string, response *http.Response) *sinks.Error {
	status := response.StatusCode
	verdict, advice := classify(status)
	if verdict == delivered {
		return nil
	}
	e := &sinks.Error{Verdict: verdict, Status: status}
	switch {
	case status >= 300 && status < 400:
		advice = "redirects are not followed: set url to the drain's new address"
		if target := locationHost(response); target != "" {
			advice = "it points to " + target + "; redirects are not followed: set url to the drain's new address"
		}
	case verdict == sinks.Retry:
		e.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	}
	e.Reason = host + " answered " + statusText(status) + ": " + advice
	return e
}

// delivered is the verdict of a success, beside those of an Error.
const delivered sinks.Verdict = 0xff

// classify is the table of status codes (RFC 9110 §15).
func classify(status int) (verdict sinks.Verdict, advice string) {
	switch {
	case status >= 200 && status < 300:
		return delivered, ""
	case status >= 300 && status < 400:
		return sinks.Misconfigured, "" // the advice is in judge
	case status >= 500:
		return sinks.Retry, "the drain is broken or overloaded: look into its log if it stays so"
	}
	switch status {
	case http.StatusUnauthorized:
		return sinks.Misconfigured, "it refuses the credentials: correct the key or token, or the user and password, that the drain is set to send"
	case http.StatusForbidden:
		return sinks.Misconfigured, "the credentials do not permit writing: give them the permission at the drain, or set others"
	case http.StatusNotFound:
		return sinks.Misconfigured, "there is nothing at this path: correct url"
	case http.StatusMethodNotAllowed:
		return sinks.Misconfigured, "this path does not take POST: correct url"
	case http.StatusProxyAuthRequired:
		return sinks.Misconfigured, "the proxy refuses the credentials: correct the user and password in HTTPS_PROXY"
	case http.StatusRequestTimeout:
		return sinks.Retry, "the request took the drain too long: look into its log if it stays so"
	case http.StatusTooEarly, http.StatusTooManyRequests:
		return sinks.Retry, "the drain asks for a pause: raise its limit of requests if it stays so"
	case http.StatusRequestEntityTooLarge:
		return sinks.TooLarge, "the request is too large for it: lower max_request_bytes, or raise the drain's limit"
	case http.StatusGone:
		return sinks.Gone, "the drain says that it has ceased to exist: remove it, or correct url"
	// By these the drain refuses every request alike: to give up records for them would lose all.
	case http.StatusPaymentRequired:
		return sinks.Misconfigured, "the account at the drain does not permit writing: renew it or its quota"
	case http.StatusUnsupportedMediaType:
		return sinks.Misconfigured, "it does not take this format or compression: set format and gzip as the drain expects"
	case http.StatusRequestHeaderFieldsTooLarge:
		return sinks.Misconfigured, "the headers are too large for it: shorten headers"
	default:
		return sinks.Rejected, "it does not take one of the records, or the format: set format as the drain expects"
	}
}

// statusText uses the words of the RFC, never the drain's own.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return strconv.Itoa(status)
}

// locationHost is the host that a redirect points to, where it looks like one.
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

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds, or a date. What it does not
// understand, and what has passed, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) { // out of range, so very long
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
