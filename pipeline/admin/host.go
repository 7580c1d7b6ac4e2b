package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// maxHost is the maximum of bytes that are logged of a Host header. No DNS name is as long.
const maxHost = 300

// misdirected is the answer to a request for a host that is not this server's.
var misdirected = &console.Refusal{Status: http.StatusMisdirectedRequest,
	Reason: "this request is for another host: add its name to admin.hosts if it is a name of this server"}

// ownHost reports whether a request is for this server, so that no page from elsewhere gets in by a
// name that it points here (DNS rebinding). The server's own are loopback addresses and localhost,
// the address that the connection came to, the names of its certificate, and those that are
// configured. Browsers send no request without a host, or to a Unix socket.
func (o *Options) ownHost(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, ok := local.(*net.UnixAddr); ok || r.Host == "" {
		return true
	}
	host := hostOf(r.Host)
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		at, _ := local.(*net.TCPAddr)
		if ip.IsLoopback() || at != nil && at.AddrPort().Addr().Unmap().WithZone("") == ip {
			return true
		}
	}
	return strings.EqualFold(host, "localhost") || slices.ContainsFunc(o.Hosts, func(name string) bool { return strings.EqualFold(hostOf(name), host) }) ||
		r.TLS != nil && o.Certificate != nil && o.Certificate.isFor(host)
}

// hostOf returns the host of a Host header, without its port, brackets and final dot.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// guardHost answers only requests for this server. Others are logged at the rate of wrong tokens.
func (o *Options) guardHost(next http.Handler) http.Handler {
	others := console.NewAttempts(o.TrustedProxies)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.ownHost(r) {
			from := others.From(r)
			if v := others.Wrong(from); v.Log {
				o.Log.Warn("admin: a request for another host was refused", "host", r.Host[:min(len(r.Host), maxHost)], "from", from, "left_out", v.LeftOut,
					"remedy", "add the name to admin.hosts if it is this server's")
			}
			console.SetHeaders(w.Header())
			http.Error(w, misdirected.Reason, misdirected.Status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
