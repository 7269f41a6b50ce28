// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// DownloadError says which URL could not be downloaded, and why.
type DownloadError struct {
	URL string
	// Status is that of the last response ("404 Not Found"); "" if there was none.
	Status string
	// Code is its status code; 0 if there was none.
	Code int
	// Err is the cause; nil if that is the Status.
	Err error
}

func (e *DownloadError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("get %s: %s", Redact(e.URL), e.Status)
	}
	return fmt.Sprintf("get %s: %v", Redact(e.URL), e.Err)
}

func (e *DownloadError) Unwrap() error { return e.Err }

// Is reports a missing file as fs.ErrNotExist, whatever the scheme of the URL.
func (e *DownloadError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.Code == http.StatusNotFound || e.Code == http.StatusGone)
}

// ChecksumError says that a file differs from the one in the archive's signed files.
type ChecksumError struct {
	Want, Got         string // SHA256, in hexadecimal; "" if the sizes differ already
	WantSize, GotSize int64  // in bytes
}

func (e *ChecksumError) Error() string {
	if e.WantSize != e.GotSize {
		return fmt.Sprintf("size mismatch: want %d bytes, got %d", e.WantSize, e.GotSize)
	}
	return fmt.Sprintf("SHA256 mismatch: want %s, got %s", e.Want, e.Got)
}

// PageError says that a server has sent a web page in place of a file, as networks do that want a login first.
type PageError struct {
	// URL is that of the page, to which the request may have been redirected.
	URL string
}

func (e *PageError) Error() string { return "a web page in place of the file: " + Redact(e.URL) }

const (
	// maxRelease limits files of unknown size.
	maxRelease = 64 << 20
	// usualRelease is as large as they are: Debian's largest InRelease has 200 kB.
	usualRelease = 1 << 20
)

// getRelease downloads a Release file or its signature, whose checksum is not known. A server that still has the file
// of the cache does not send it again.
func (c *Client) getRelease(ctx context.Context, rawURL string) ([]byte, error) {
	last, err := c.Cache.response(ctx, rawURL)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	t := &transfer{
		client: c, url: rawURL, fresh: true, limit: maxRelease, size: usualRelease, dst: &buf, last: last,
		restart: func() error { buf.Reset(); return nil },
	}
	t.check = func() error {
		if t.unchanged {
			return nil
		}
		return checkComplete(buf.Bytes())
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	if t.unchanged {
		data, err := os.ReadFile(c.Cache.Path(last.SHA256))
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		return data, nil
	}
	t.response.SHA256 = digestOf(buf.Bytes())
	return buf.Bytes(), errors.Join(c.Cache.put(t.response.SHA256, buf.Bytes()), c.Cache.keepResponse(rawURL, t.response))
}

// checkComplete returns an error if a Release file or a signature lacks its end. The end of Release alone shows in its
// signature only.
func checkComplete(data []byte) error {
	if len(data) == 0 || bytes.HasPrefix(data, []byte("-----BEGIN PGP ")) &&
		!bytes.Contains(data, []byte("\n-----END PGP SIGNATURE-----")) {
		return fmt.Errorf("the file is cut: it ends after %d bytes, before its signature does", len(data))
	}
	return nil
}

// transfer is the download of one file. It retries after transient errors. It resumes where it was if the server
// supports that and a checksum can prove that the parts belong together.
type transfer struct {
	client  *Client
	url     string
	fresh   bool  // request the current file from caches on the way
	pages   bool  // web pages are files like all others
	limit   int64 // of bytes accepted
	size    int64 // expected bytes, which decide how long the download may take
	dst     io.Writer
	restart func() error // empties dst
	check   func() error // returns an error if dst is incomplete; may be nil
	sum     hash.Hash    // of what is in dst; nil if not needed
	want    string       // the digest; "" if there is none
	onBytes func(n int)  // called with the bytes received, and with a negative number at a restart; may be nil
	last    response     // the file that the caller has; the zero response for none

	response   response // how the server describes the file
	unchanged  bool     // the server still has the file of last, and dst is empty
	done       int64    // bytes in dst
	resumed    bool     // the last response went on where the one before ended
	status     string   // of the last response
	code       int
	retryAfter time.Duration // that the last response asks for
}

// errStatus says that the status of the response is the cause.
var errStatus = errors.New("unexpected status")

// run downloads the file to dst, whose content is undefined after an error.
func (t *transfer) run(ctx context.Context) error {
	u, err := url.Parse(t.url)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // it repeats the URL
		}
		return &DownloadError{URL: t.url, Err: err}
	}
	if u.Scheme != "file" {
		most := baseTime + time.Duration(t.size/meanRate)*time.Second
		timeout := fmt.Errorf("it took longer than %v, with all attempts", most)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, timeout)
		defer cancel()
	}
	for n := 1; ; n++ {
		before := t.done
		err := t.attempt(ctx, u)
		if err == nil {
			return nil
		}
		failure := &DownloadError{URL: t.url, Status: t.status, Code: t.code, Err: err}
		if errors.Is(err, errStatus) {
			failure.Err = nil
		}
		if t.resumed && t.done-before >= leastProgress {
			n = 1
		}
		if n == attempts || ctx.Err() != nil || u.Scheme == "file" || !t.transient(err) {
			return failure
		}
		if t.retryAfter > longestPause {
			failure.Err = fmt.Errorf("%s (it asks to come back in %v)", t.status, t.retryAfter)
			return failure
		}
		pause := max(t.client.backoff(n+1), t.retryAfter)
		t.client.warn(fmt.Sprintf("%v: attempt %d of %d in %v", failure, n+1, attempts, pause))
		if err := sleep(ctx, pause); err != nil {
			failure.Err = err
			return failure
		}
	}
}

// attempt makes one request, which resumes the last one if possible.
func (t *transfer) attempt(ctx context.Context, u *url.URL) error {
	var err error
	switch u.Scheme {
	case "http", "https":
		err = t.fromServer(ctx)
	case "file":
		err = t.fromFile(ctx, u.Path)
	default:
		err = fmt.Errorf("unsupported scheme %q; want one of http, https, file", u.Scheme)
	}
	if t.want != "" && (err == nil || t.done == t.limit) {
		checksum := &ChecksumError{Want: t.want, WantSize: t.limit, GotSize: t.done}
		if t.done == t.limit {
			checksum.Got = hex.EncodeToString(t.sum.Sum(nil))
		}
		switch {
		case checksum.Got == t.want:
			err = nil // even if the server announced more
		case err == nil:
			err = checksum
		}
	}
	if err == nil && t.check != nil {
		err = t.check()
	}
	if _, ok := errors.AsType[*ChecksumError](err); ok {
		t.fresh = true // a cache on the way may be to blame
		return errors.Join(err, t.reset())
	}
	return err
}

// fromFile copies a file of this machine.
func (t *transfer) fromFile(ctx context.Context, name string) error {
	if err := t.reset(); err != nil {
		return err
	}
	f, err := diskimage.OpenRegular(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.copy(ctx, f)
}

// fromServer makes one HTTP request.
func (t *transfer) fromServer(ctx context.Context) error {
	t.status, t.code, t.retryAfter, t.resumed = "", 0, 0, false
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var received atomic.Int64
	go watchRate(ctx, &received, cancel)
	err := t.request(ctx, &received)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// watchRate cancels the request when less than the least rate is received, until ctx ends.
func watchRate(ctx context.Context, received *atomic.Int64, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(ratePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if n := received.Swap(0); n < int64(leastRate*ratePeriod/time.Second) {
			cancel(&rateError{n})
			return
		}
	}
}

// rateError says that only so many bytes were received in a ratePeriod.
type rateError struct{ bytes int64 }

func (e *rateError) Error() string {
	if e.bytes == 0 {
		return fmt.Sprintf("no data for %v", ratePeriod)
	}
	return fmt.Sprintf("only %d bytes in %v", e.bytes, ratePeriod)
}

// request sends the request and reads the response. It adds the bytes of the file to received.
func (t *transfer) request(ctx context.Context, received *atomic.Int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return err
	}
	if t.fresh {
		req.Header.Set("Cache-Control", "max-age=0")
	}
	t.last.condition(req.Header)
	from := ""
	if t.done > 0 && t.want != "" {
		from = "bytes " + strconv.FormatInt(t.done, 10) + "-"
		req.Header.Set("Range", strings.Replace(from, " ", "=", 1))
	}
	resp, err := t.client.http().Do(req)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // it repeats the URL
		}
		return err
	}
	defer resp.Body.Close()
	t.status, t.code, t.retryAfter = resp.Status, resp.StatusCode, retryAfter(resp.Header)
	t.resumed = resp.StatusCode == http.StatusPartialContent && from != "" &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), from)
	if !t.resumed {
		if err := t.reset(); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusNotModified && t.last.SHA256 != "" {
			t.unchanged = true
			return nil
		}
		if resp.StatusCode != http.StatusOK {
			return errStatus
		}
	}
	t.response = response{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	counted := &countingReader{resp.Body, received}
	if t.resumed {
		return t.copy(ctx, counted)
	}
	const sniffed = 512 // bytes, by http.DetectContentType
	body := bufio.NewReaderSize(counted, sniffed)
	// A shorter file ends here; Read returns the error again.
	if head, _ := body.Peek(sniffed); !t.pages && strings.HasPrefix(http.DetectContentType(head), "text/html") {
		return &PageError{resp.Request.URL.String()}
	}
	return t.copy(ctx, body)
}

// retryAfter returns the pause that a server asks for (RFC 9110, 10.2.3): seconds, or a time, which is compared with
// the server's own clock. It returns 0 without one.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	now, dateErr := http.ParseTime(h.Get("Date"))
	if err != nil || dateErr != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// countingReader adds the bytes that it reads.
type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// copy reads the rest of the file.
func (t *transfer) copy(ctx context.Context, src io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := src.Read(buf)
		if n > 0 {
			if t.done+int64(n) > t.limit {
				return &ChecksumError{WantSize: t.limit, GotSize: t.done + int64(n)}
			}
			if _, err := t.dst.Write(buf[:n]); err != nil {
				return &localError{err}
			}
			if t.sum != nil {
				t.sum.Write(buf[:n]) // a hash never fails
			}
			t.done += int64(n)
			if t.onBytes != nil {
				t.onBytes(n)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reset makes the next attempt start over.
func (t *transfer) reset() error {
	if t.done == 0 {
		return nil
	}
	if t.onBytes != nil {
		t.onBytes(-int(t.done))
	}
	t.done = 0
	if t.sum != nil {
		t.sum = sha256.New()
	}
	if err := t.restart(); err != nil {
		return &localError{err}
	}
	return nil
}

// localError is a problem of this machine, such as a full disk, which no further attempt fixes.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// transient reports whether the download may succeed a little later, after the given error.
func (t *transfer) transient(err error) bool {
	if _, ok := errors.AsType[*localError](err); ok {
		return false
	}
	if t.code != 0 {
		switch t.code {
		case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable,
			http.StatusRequestTimeout, http.StatusTooManyRequests:
			return true
		}
		return t.code >= http.StatusInternalServerError && t.code != http.StatusNotImplemented
	}
	// No response. An unknown host, a bad certificate and a bad URL are permanent.
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return !dns.IsNotFound
	}
	if _, ok := errors.AsType[*rateError](err); ok {
		return true
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
