// SPDX-License-Identifier: Apache-2.0

package archivetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Fault makes a response of the server fail. The zero Fault is none. One field is set, or two where that is said.
type Fault struct {
	// Status is the status of a response without the file; RetryAfter is its header of that name, if not empty.
	Status     int
	RetryAfter string
	// Redirect redirects to this URL; one that begins with a slash is on the same server.
	Redirect string
	// Page is an HTML page that is sent with the status 200 in place of the file.
	Page string
	// Silent sends nothing, not even a status, until the client gives up.
	Silent bool
	// Stall sends nothing after half of the file, until the client gives up.
	Stall bool
	// Trickle is the time before each Portion of what was asked for, in bytes; 0 stands for one byte.
	Trickle time.Duration
	Portion int
	// NoRange makes Trickle and Truncate send the whole file, whatever range was asked for.
	NoRange bool
	// Hangup closes the connection without a response.
	Hangup bool
	// Truncate breaks the connection after half of what was asked for; Reset does so with a TCP reset.
	Truncate, Reset bool
	// Cut ends the response after half of the file, as if that were all.
	Cut bool
	// Empty ends the response before the first byte of the file, as if that were all.
	Empty bool
	// Longer is what Content-Length has more than the file, in bytes.
	Longer int
	// Corrupt changes a byte in the middle of the file.
	Corrupt bool
}

// Inject makes the next requests for files whose URL contains part fail, with one fault each, in order.
func (r *Repository) Inject(part string, faults ...Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[part] = append(r.faults[part], faults...)
}

// InjectAlways makes all further requests for files whose URL contains part fail.
func (r *Repository) InjectAlways(part string, fault Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.always[part] = fault
}

// nextFault returns the fault of a request for a URL without its scheme; r.mu is held.
func (r *Repository) nextFault(url string) Fault {
	for part, faults := range r.faults {
		if len(faults) > 0 && strings.Contains(url, part) {
			r.faults[part] = faults[1:]
			return faults[0]
		}
	}
	for part, fault := range r.always {
		if strings.Contains(url, part) {
			return fault
		}
	}
	return Fault{}
}

// serve sends the faulty response to the request for a file with this content. It returns false without a fault.
func (f Fault) serve(w http.ResponseWriter, req *http.Request, data []byte) bool {
	gone := req.Context().Done()
	half := data[:len(data)/2]
	switch {
	case f == Fault{}:
		return false
	case f.Status != 0:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		http.Error(w, "a fault for the test", f.Status)
	case f.Redirect != "":
		http.Redirect(w, req, f.Redirect, http.StatusFound)
	case f.Page != "":
		w.Header().Set("Content-Type", "text/html")
		send(w, []byte(f.Page))
	case f.Silent:
		<-gone
		panic(http.ErrAbortHandler)
	case f.Stall:
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		send(w, half)
		<-gone
		panic(http.ErrAbortHandler)
	case f.Trickle > 0:
		f.trickle(w, req, data)
	case f.Hangup:
		panic(http.ErrAbortHandler)
	case f.Truncate, f.Reset:
		rest := f.begin(w, req, data)
		// Without a flush the client would receive no response, and net/http would retry by itself.
		send(w, rest[:len(rest)/2])
		if f.Reset {
			reset(w)
		}
		panic(http.ErrAbortHandler)
	case f.Cut:
		send(w, half) // without Content-Length, as it is flushed
	case f.Empty:
		w.WriteHeader(http.StatusOK)
	case f.Longer > 0:
		w.Header().Set("Content-Length", strconv.Itoa(len(data)+f.Longer))
		send(w, data)
		panic(http.ErrAbortHandler)
	case f.Corrupt && len(data) > 0:
		data = bytes.Clone(data)
		data[len(data)/2] ^= 0xff
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	}
	return true
}

// begin sends the header of a response with the part of a file that was asked for, and returns that part.
func (f Fault) begin(w http.ResponseWriter, req *http.Request, data []byte) []byte {
	status, from := http.StatusOK, 0
	if text, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok && !f.NoRange {
		n, err := strconv.Atoi(strings.TrimSuffix(text, "-"))
		if err == nil && n <= len(data) {
			status, from = http.StatusPartialContent, n
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
	w.WriteHeader(status)
	return data[from:]
}

// trickle sends what was asked for in portions.
func (f Fault) trickle(w http.ResponseWriter, req *http.Request, data []byte) {
	rest := f.begin(w, req, data)
	for portion := range slices.Chunk(rest, max(f.Portion, 1)) {
		select {
		case <-req.Context().Done():
			panic(http.ErrAbortHandler)
		case <-time.After(f.Trickle):
		}
		send(w, portion)
	}
}

// send sends a part of a response now. The client may have gone.
func send(w http.ResponseWriter, data []byte) {
	_, _ = w.Write(data)
	_ = http.NewResponseController(w).Flush()
}

// reset makes the kernel close the connection with a reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// PipeClient returns an HTTP client for this archive whose connections are in memory, so that in a bubble of
// testing/synctest hours of silence take no time. It is called in the bubble, with the bubble's t; the Repository is
// made outside of it.
func (r *Repository) PipeClient(t testing.TB) *http.Client {
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: time.Hour}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // http.ErrServerClosed
	}()
	transport := &http.Transport{DialContext: listener.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Errorf("archivetest: %v", err)
		}
		<-done
	})
	return &http.Client{Transport: onlyHosts{transport, r.isHost}}
}

// ClosedPort returns an address of the loopback interface where nothing accepts connections.
func ClosedPort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// pipeListener accepts connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It is called once.
func (l *pipeListener) Close() error { close(l.closed); return nil }

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "archivetest", Net: "pipe"} }

// dial connects to the listener.
func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
