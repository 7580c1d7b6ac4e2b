package receive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
)

// httpsServer accepts records by POST: application/json with an object or an array of objects, or
// application/x-ndjson with one object on each line, optionally compressed with gzip.
type httpsServer struct {
	r    *Receiver
	http *http.Server
}

func newHTTPSServer(r *Receiver) *httpsServer {
	s := &httpsServer{r: r}
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         r.config.Clone(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelWarn),
	}
	return s
}

func (s *httpsServer) serve() error {
	if err := s.http.ServeTLS(s.r.https, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTPS: %w", err)
	}
	return nil
}

func (s *httpsServer) stop(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		s.r.log.Warn("https: closing connections that did not finish in time")
		s.http.Close()
	}
}

// refusal is the error for a request that is refused. Its reason quotes nothing of the request.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func (s *httpsServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n, err := s.receive(w, req)
	w.Header().Set("Content-Type", "application/json")
	if err == nil { // net/http omits the body for HEAD
		json.NewEncoder(w).Encode(map[string]int{"received": n})
		return
	}
	refused := &refusal{status: http.StatusBadRequest}
	if !errors.As(err, &refused) {
		refused.reason = "the body could not be read"
	}
	s.r.log.Warn("https: request refused", "peer", req.RemoteAddr, "status", refused.status, "reason", refused.reason)
	w.WriteHeader(refused.status)
	json.NewEncoder(&schema.JSONWriter{To: w}).Encode(map[string]string{"error": refused.reason})
}

// receive delivers all the records of a request, or none.
func (s *httpsServer) receive(w http.ResponseWriter, req *http.Request) (int, error) {
	if !s.authorised(req) {
		if s.r.o.Token != "" {
			w.Header().Add("WWW-Authenticate", `Bearer realm="ttydrain"`)
		}
		if s.r.o.User != "" {
			w.Header().Add("WWW-Authenticate", `Basic realm="ttydrain", charset="UTF-8"`)
		}
		return 0, refuse(http.StatusUnauthorized, "credentials are missing or wrong")
	}
	if req.Method == http.MethodHead { // a probe, such as the one of `ttydrain drains test`
		return 0, nil
	}
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodHead+", "+http.MethodPost)
		return 0, refuse(http.StatusMethodNotAllowed, "records are sent by POST")
	}
	parse, err := parserFor(req.Header.Get("Content-Type"))
	if err != nil {
		return 0, err
	}
	body, err := s.read(w, req)
	if err != nil {
		return 0, err
	}
	batch, err := parse(body)
	if err != nil {
		return 0, err
	}
	for i := range batch {
		batch[i].Drain, batch[i].Peer = HTTPS, req.RemoteAddr
	}
	if !s.r.deliver(req.Header.Get("Idempotency-Key"), batch) {
		return 0, refuse(http.StatusServiceUnavailable, "the receiver is stopping")
	}
	return len(batch), nil
}

func (s *httpsServer) authorised(req *http.Request) bool {
	o := &s.r.o
	if o.Token == "" && o.User == "" {
		return true
	}
	if o.Token != "" {
		scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") && same(token, o.Token) {
			return true
		}
	}
	if o.User != "" {
		user, password, ok := req.BasicAuth()
		// Both are always compared, so that the timing does not reveal which one was wrong.
		sameUser, samePassword := same(user, o.User), same(password, o.Password)
		return ok && sameUser && samePassword
	}
	return false
}

// same compares secrets in constant time, which also hides their lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// read returns the decompressed body. MaxBody limits both the compressed and the decompressed size.
func (s *httpsServer) read(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	limit := s.r.o.MaxBody
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", limit)
	var body io.Reader = http.MaxBytesReader(w, req.Body, limit)
	switch encoding := req.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, bodyError(err, tooLarge)
		}
		body = unpacked
	default:
		w.Header().Set("Accept-Encoding", "gzip") // RFC 9110 §15.5.16
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding must be gzip or absent")
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, bodyError(err, tooLarge)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge
	}
	if !utf8.Valid(data) {
		return nil, refuse(http.StatusBadRequest, "the body is not UTF-8 (RFC 8259 §8.1)")
	}
	return data, nil
}

func bodyError(err, tooLarge error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return refuse(http.StatusBadRequest, "the body is not gzip")
	}
	return err
}

// parserFor returns the parser for a media type.
func parserFor(contentType string) (func([]byte) ([]Received, error), error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil && params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return nil, refuse(http.StatusUnsupportedMediaType, "the charset must be UTF-8")
	}
	switch media {
	case "application/json":
		return parseJSON, nil
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		return parseLines, nil
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Type must be application/json or application/x-ndjson")
	}
}

// parseJSON parses one object, or an array of objects.
func parseJSON(body []byte) ([]Received, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		received, err := parseObject(body)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "the body: %v", err)
		}
		return []Received{received}, nil
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(body, &objects); err != nil {
		return nil, refuse(http.StatusBadRequest, "the body: %v", jsonError(err))
	}
	batch := make([]Received, 0, len(objects))
	for i, object := range objects {
		received, err := parseObject(object)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "element %d: %v", i, err)
		}
		batch = append(batch, received)
	}
	return batch, nil
}

// parseLines parses one object per line and ignores empty lines.
func parseLines(body []byte) ([]Received, error) {
	var batch []Received
	number := 0
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		received, err := parseObject(line)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "line %d: %v", number, err)
		}
		batch = append(batch, received)
	}
	return batch, nil
}

func parseObject(data []byte) (Received, error) {
	data = bytes.TrimSpace(data)
	if !bytes.HasPrefix(data, []byte("{")) {
		return Received{}, errors.New("not a JSON object")
	}
	received := Received{Raw: data}
	if err := json.Unmarshal(data, &received.Record); err != nil {
		return Received{}, jsonError(err)
	}
	return received, nil
}

// jsonError describes an error of encoding/json without the quotes of the input that it can
// contain.
func jsonError(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON: at byte %d", syntax.Offset)
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mismatch.Field != "" {
		return fmt.Errorf("the field %q has the wrong type for a record", mismatch.Field)
	}
	return errors.New("a field has the wrong format for a record")
}

// recentKeys holds the most recent idempotency keys as digests, so that long keys need no more
// memory.
type recentKeys struct {
	known map[[sha256.Size]byte]bool
	ring  [][sha256.Size]byte // in order of arrival, oldest at next once full
	next  int
}

func newRecentKeys(n int) *recentKeys {
	return &recentKeys{known: make(map[[sha256.Size]byte]bool), ring: make([][sha256.Size]byte, 0, n)}
}

// seen reports whether the key is known, and adds it if not.
func (k *recentKeys) seen(key string) bool {
	digest := sha256.Sum256([]byte(key))
	if k.known[digest] {
		return true
	}
	if len(k.ring) < cap(k.ring) {
		k.ring = append(k.ring, digest)
	} else {
		delete(k.known, k.ring[k.next])
		k.ring[k.next] = digest
		k.next = (k.next + 1) % len(k.ring)
	}
	k.known[digest] = true
	return false
}
