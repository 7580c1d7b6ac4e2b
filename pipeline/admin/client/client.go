// Package client calls the admin API of a running ttydrain, for operators' commands.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/endpoint"
)

// timeout bounds a call. The test of a drain takes longest.
const timeout = 2 * time.Minute

// A Client calls the API at one endpoint.
type Client struct {
	Endpoint endpoint.Endpoint
	Token    string
}

// An Error is a response with another status than 200.
type Error struct {
	Status int
	Text   string // the reason, which the server wrote
}

func (e *Error) Error() string { return e.Text }

// Call sends a request to a path below /api/v1/, which can have a query, with body in JSON unless
// it is nil. It decodes the response into value, and also returns it unchanged. The error is an
// *[Error] if the server refused.
func (c *Client) Call(ctx context.Context, method, path string, body, value any) (data []byte, err error) {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		sent = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.Endpoint.URL+"/api/v1/"+path, sent)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.Endpoint.Client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: is serve running, and is %s its admin address?", err, c.Endpoint.Name)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &Error{Status: response.StatusCode, Text: endpoint.Refusal(response)}
	}
	data, err = io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(data, value)
	}
	if err != nil {
		return nil, fmt.Errorf("read the response of %s: %w", c.Endpoint.Name, err)
	}
	return data, nil
}
