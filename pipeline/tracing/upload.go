package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// retryFirst and retryMax bound the wait before a retry of spans that the collector refused
	// temporarily, unless it requests a longer wait.
	retryFirst = 5 * time.Second
	retryMax   = 30 * time.Second
	// retryFor bounds the total time of retries. New spans are queued meanwhile.
	retryFor = time.Minute
	// maxResponse bounds how much of a response is read, in bytes.
	maxResponse = 64 << 10
)

// uploader sends spans by OTLP over HTTP, in protobuf with gzip. It implements
// [otlptrace.Client].
//
// OpenTelemetry's own client, otlptracehttp, takes its settings from a package for all protocols,
// and with it come gRPC and its gateway: 90 packages, of which ttydrain would use none.
type uploader struct {
	endpoint string
	headers  map[string]string
	client   *http.Client
	first    time.Duration // the first wait before spans are sent again
}

// Start implements [otlptrace.Client]. There is nothing to start.
func (*uploader) Start(context.Context) error { return nil }

// Stop implements [otlptrace.Client].
func (u *uploader) Stop(context.Context) error {
	u.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements [otlptrace.Client].
func (u *uploader) UploadTraces(ctx context.Context, spans []*v1.ResourceSpans) error {
	// The wire form of TracesData is that of an ExportTraceServiceRequest.
	data, err := proto.Marshal(&v1.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	w.Write(data) // writes to a bytes.Buffer never fail
	w.Close()
	waits := backoff.NewExponentialBackOff(backoff.WithInitialInterval(u.first), backoff.WithMaxInterval(retryMax), backoff.WithMaxElapsedTime(retryFor))
	for {
		asked, err := u.post(ctx, body.Bytes())
		var later *laterError
		if err == nil || !errors.As(err, &later) {
			return err
		}
		wait := waits.NextBackOff()
		if wait == backoff.Stop {
			return err
		}
		timer := time.NewTimer(max(wait, asked))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// laterError is a temporary failure.
type laterError struct{ error }

func (e *laterError) Unwrap() error { return e.error }

// post sends one request. wait is the minimum wait before a retry that the collector has requested.
// Errors never quote the response.
func (u *uploader) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("send spans: the endpoint is not a URL")
	}
	for name, value := range u.headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "gzip")
	response, err := u.client.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the URL may contain a secret
		}
		return 0, &laterError{fmt.Errorf("send spans: %w", err)}
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second, &laterError{fmt.Errorf("send spans: the collector answered %d %s", status, http.StatusText(status))}
	case status/100 != 2:
		return 0, fmt.Errorf("send spans: the collector answered %d %s", status, http.StatusText(status))
	case err != nil:
		return 0, fmt.Errorf("read the collector's answer: %w", err)
	}
	if n := rejectedSpans(answer); n > 0 {
		return 0, fmt.Errorf("the collector rejected %d spans", n)
	}
	return 0, nil
}

// rejectedSpans returns the number of rejected spans in a response: field partial_success (1) of
// ExportTraceServiceResponse, with the field rejected_spans (1).
func rejectedSpans(answer []byte) int64 {
	var n int64
	eachField(answer, func(number protowire.Number, value []byte, _ uint64) {
		if number == 1 {
			eachField(value, func(number protowire.Number, _ []byte, value uint64) {
				if number == 1 {
					n = int64(value)
				}
			})
		}
	})
	return n
}

// eachField calls f for the fields of a message, up to the first one that is malformed: with value
// for a length-delimited field, and with n for a varint.
func eachField(message []byte, f func(number protowire.Number, value []byte, n uint64)) {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return
		}
		message = message[length:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, length = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			n, length = protowire.ConsumeVarint(message)
		default:
			length = protowire.ConsumeFieldValue(number, kind, message)
		}
		if length < 0 {
			return
		}
		message = message[length:]
		f(number, value, n)
	}
}
