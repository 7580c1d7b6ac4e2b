package gateway

import (
	"fmt"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/ssh"
)

// inWireOrder makes the SSH library deliver channel opens and global requests in the order in which
// the client sent them. The caller has to read both channels until they are closed.
//
// The library buffers 16 of each, so a request can be read before a channel open that preceded it:
// no-more-sessions@openssh.com would then refuse the session that OpenSSH's client opened just
// before it. The library exports no information on the order. Without buffers, its reader waits
// until a message is consumed before it processes the next one; so both buffered channels are
// replaced by reflection, before the client may send anything: see heard.hold. Requests that a
// client sends before it has the answer to its login are not answered.
//
// An error means that the library's fields are not the expected ones; then nothing is replaced.
func inWireOrder(conn *ssh.ServerConn) (opens <-chan ssh.NewChannel, requests <-chan *ssh.Request, err error) {
	internal := reflect.ValueOf(conn.Conn)
	if internal.Kind() != reflect.Pointer || internal.Elem().Kind() != reflect.Struct {
		return nil, nil, fmt.Errorf("the SSH library's connection is a %s", internal.Type())
	}
	mux := internal.Elem().FieldByName("mux")
	if mux.Kind() != reflect.Pointer || mux.IsNil() || mux.Elem().Kind() != reflect.Struct {
		return nil, nil, fmt.Errorf("the SSH library's %s has no mux", internal.Type())
	}
	o, err := bufferedIn[ssh.NewChannel](mux.Elem(), "incomingChannels")
	if err != nil {
		return nil, nil, err
	}
	r, err := bufferedIn[*ssh.Request](mux.Elem(), "incomingRequests")
	if err != nil {
		return nil, nil, err
	}
	*o, *r = make(chan ssh.NewChannel), make(chan *ssh.Request)
	return *o, *r, nil
}

// bufferedIn returns the address of a struct's field that is a channel.
func bufferedIn[T any](owner reflect.Value, name string) (*chan T, error) {
	field := owner.FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[chan T]() {
		return nil, fmt.Errorf("the SSH library's %s has no field %s of type %s", owner.Type(), name, reflect.TypeFor[chan T]())
	}
	return (*chan T)(unsafe.Pointer(field.UnsafeAddr())), nil
}
