// SPDX-License-Identifier: Apache-2.0

package archive

import (
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
	"strconv"
	"strings"
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

// maxRelease limits files of unknown size. Debian's largest InRelease has 200 kB.
const maxRelease = 64 << 20

// get downloads a small file whose checksum is not known.
func (c *Client) get(ctx context.Context, rawURL string) ([]byte, error) {
	var buf bytes.Buffer
	t := &transfer{client: c, url: rawURL, fresh: true, limit: maxRelease, dst: &buf,
		restart: func() error { buf.Reset(); return nil }}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// transfer is the download of one file. It retries after transient errors. It resumes where it was if the server
// supports that and a checksum can prove that the parts belong together.
type transfer struct {
	client  *Client
	url     string
	fresh   bool  // request the current file from caches on the way
	limit   int64 // of bytes accepted
	dst     io.Writer
	restart func() error // empties dst
	sum     hash.Hash    // of what is in dst; nil if not needed
	want    string       // the digest; "" if there is none
	onBytes func(n int)  // called with the bytes received, and with a negative number at a restart; may be nil

	done   int64  // bytes in dst
	status string // of the last response
	code   int
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
	for n := 1; ; n++ {
		err := t.client.pause(ctx, n)
		if err == nil {
			err = t.attempt(ctx, u)
		}
		if err == nil {
			return nil
		}
		failure := &DownloadError{URL: t.url, Status: t.status, Code: t.code, Err: err}
		if errors.Is(err, errStatus) {
			failure.Err = nil
		}
		if n == attempts || ctx.Err() != nil || u.Scheme == "file" || !t.transient(err) {
			return failure
		}
		t.client.log().Warn("download failed, trying again", "error", failure, "attempt", n)
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
	if err == nil && t.want != "" {
		checksum := &ChecksumError{Want: t.want, WantSize: t.limit, GotSize: t.done}
		if t.done == t.limit {
			checksum.Got = hex.EncodeToString(t.sum.Sum(nil))
		}
		if checksum.Got != t.want {
			err = checksum
		}
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
	return t.copy(ctx, f, func() {})
}

// fromServer makes one HTTP request.
func (t *transfer) fromServer(ctx context.Context) error {
	t.status, t.code = "", 0
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return err
	}
	if t.fresh {
		req.Header.Set("Cache-Control", "max-age=0")
	}
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
	t.status, t.code = resp.Status, resp.StatusCode
	resumed := resp.StatusCode == http.StatusPartialContent && from != "" &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), from)
	if !resumed {
		if err := t.reset(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return errStatus
		}
	}
	watchdog := time.AfterFunc(stallTimeout, func() { cancel(fmt.Errorf("no data for %v", stallTimeout)) })
	defer watchdog.Stop()
	err = t.copy(ctx, resp.Body, func() { watchdog.Reset(stallTimeout) })
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// copy reads the rest of the file; alive is called whenever data arrives.
func (t *transfer) copy(ctx context.Context, src io.Reader, alive func()) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := src.Read(buf)
		if n > 0 {
			alive()
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
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
