package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// maxHost is the number of bytes of a Host header that are logged. DNS names are shorter.
const maxHost = 300

// misdirected is the response to a request for a host that is not this server's.
var misdirected = &console.Refusal{Status: http.StatusMisdirectedRequest,
	Reason: "this request is for another host: add its name to admin.hosts if it is a name of this server"}

// ownHost reports whether a request is for this server. It prevents other sites from gaining access
// through a DNS name that points here (DNS rebinding). The server's own hosts are localhost and
// loopback addresses, the local address of the connection, the names in the certificate, and the
// configured hosts. Requests without a host and over a Unix socket are accepted: browsers do not
// send them.
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

// hostOf returns the host in a Host header without port, brackets and trailing dot.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

// guardHost refuses requests for other hosts. It logs them at the same limited rate as wrong
// tokens.
func (o *Options) guardHost(next http.Handler) http.Handler {
	others := console.NewAttempts(o.TrustedProxies)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.ownHost(r) {
			from := others.From(r)
			if v := others.Wrong(from); v.Log {
				o.Log.Warn("admin: request for another host refused", "host", r.Host[:min(len(r.Host), maxHost)], "from", from, "left_out", v.LeftOut,
					"advice", "add the name to admin.hosts if it is a name of this server")
			}
			console.SetHeaders(w.Header())
			if strings.HasPrefix(r.URL.Path, apiPrefix) {
				refuse(w, misdirected)
				return
			}
			http.Error(w, misdirected.Reason, misdirected.Status)
			return
		}
		next.ServeHTTP(w, r)
	})
}
