package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// apiPrefix is the prefix of the paths whose errors are JSON.
const apiPrefix = "/api/"

// refuseUnknown serves requests with mux. It refuses unknown paths and methods of the API in the
// form of the API's other errors.
func refuseUnknown(mux *http.ServeMux, routes []route) http.Handler {
	// The methods of paths without parameters. A path with parameters may include one of them, and
	// has other methods.
	methods := make(map[string][]string)
	for _, r := range routes {
		if !strings.Contains(r.Path, "{") {
			methods[r.Path] = append(methods[r.Path], r.Method)
			if r.Method == http.MethodGet {
				methods[r.Path] = append(methods[r.Path], http.MethodHead)
			}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, apiPrefix) {
			if allow := methods[r.URL.Path]; allow != nil && !slices.Contains(allow, r.Method) {
				refuseStatus(w, http.StatusMethodNotAllowed, strings.Join(allow, ", "))
				return
			}
			if h, pattern := mux.Handler(r); pattern == "" {
				var status statusRecorder
				h.ServeHTTP(&status, r)
				refuseStatus(w, status.code, status.header.Get("Allow"))
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// refuseStatus refuses a request with an unknown path or, if allow has methods, an unknown method.
func refuseStatus(w http.ResponseWriter, status int, allow string) {
	console.SetHeaders(w.Header())
	reason := "this path does not exist: `ttydrain docs api` describes the API"
	if allow != "" {
		w.Header().Set("Allow", allow)
		reason = "this path has other methods: " + allow
	}
	refuse(w, &console.Refusal{Status: status, Reason: reason})
}

// statusRecorder is a response of which only the status and the header matter.
type statusRecorder struct {
	header http.Header
	code   int
}

func (s *statusRecorder) Header() http.Header {
	if s.header == nil {
		s.header = make(http.Header)
	}
	return s.header
}

func (s *statusRecorder) WriteHeader(status int) { s.code = status }

func (s *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }
