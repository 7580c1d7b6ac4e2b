package admin

import (
	"net/http"
	"time"
)

const (
	// headerTimeout bounds how long a request's header may take, and a TLS handshake.
	headerTimeout = 10 * time.Second
	// requestTimeout bounds how long a whole request may take to come.
	requestTimeout = 20 * time.Second
	// responseTimeout bounds how long an answer may take, from the end of the request's header. The
	// API and what is streamed have other bounds.
	responseTimeout = 30 * time.Second
	// operationTimeout is the same for operations of the API: a drain's test takes longest.
	operationTimeout = 150 * time.Second
	// streamTimeout bounds how long a client may take to accept one write of an answer that is
	// streamed.
	streamTimeout = 30 * time.Second
	// idleTimeout is how long a connection may stay open without a request.
	idleTimeout = time.Minute

	// maxHeader bounds a request's header, and maxBody its body, in bytes.
	maxHeader = 16 << 10
	maxBody   = 1 << 20
)

// extend gives an operation of the API its own time. It comes after the request has been read:
// net/http would cancel the request's context at the deadline for reading it.
func extend(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	// Both fail only for a response that is no connection's, which has no deadlines.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(operationTimeout))
}

// A streamed answer may take as long as its client goes on reading: each write has its own
// deadline.
type streamed struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   bool // something was written
}

func stream(w http.ResponseWriter) *streamed {
	extend(w)
	return &streamed{ResponseWriter: w, control: http.NewResponseController(w)}
}

func (s *streamed) Write(b []byte) (int, error) {
	s.begun = true
	s.renew()
	return s.ResponseWriter.Write(b)
}

// FlushError is what [http.ResponseController] calls.
func (s *streamed) FlushError() error {
	s.renew()
	return s.control.Flush()
}

func (s *streamed) renew() {
	_ = s.control.SetWriteDeadline(time.Now().Add(streamTimeout)) // see extend
}

// Unwrap is for [http.ResponseController].
func (s *streamed) Unwrap() http.ResponseWriter { return s.ResponseWriter }
