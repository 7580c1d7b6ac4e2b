package admin

import (
	"net/http"
	"time"
)

const (
	// headerTimeout bounds the time for a request's header, and for a TLS handshake.
	headerTimeout = 10 * time.Second
	// requestTimeout bounds the time for receiving a whole request.
	requestTimeout = 20 * time.Second
	// responseTimeout bounds the time for a response, from the end of the request's header. The API
	// and streamed responses have other bounds.
	responseTimeout = 30 * time.Second
	// operationTimeout is the bound for operations of the API. A drain's test takes longest.
	operationTimeout = 150 * time.Second
	// streamTimeout bounds the time for one write of a streamed response.
	streamTimeout = 30 * time.Second
	// idleTimeout is the longest time for which a connection may be idle.
	idleTimeout = time.Minute

	// maxHeader and maxBody bound a request's header and body, in bytes.
	maxHeader = 16 << 10
	maxBody   = 1 << 20
)

// extend sets the deadline for an operation of the API. Call it after the request has been read:
// net/http would cancel the request's context at the deadline for reading it.
func extend(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	// Both fail only for a response without a connection, which has no deadlines.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(operationTimeout))
}

// streamed is a response without a total time limit: each write has its own deadline.
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

// FlushError is called by [http.ResponseController].
func (s *streamed) FlushError() error {
	s.renew()
	return s.control.Flush()
}

func (s *streamed) renew() {
	_ = s.control.SetWriteDeadline(time.Now().Add(streamTimeout)) // see extend
}

// Unwrap is called by [http.ResponseController].
func (s *streamed) Unwrap() http.ResponseWriter { return s.ResponseWriter }
