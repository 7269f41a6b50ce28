// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// URLFile is a file of any URL that is in the cache.
type URLFile struct {
	SHA256 string
	// ModTime is when the server says that it was changed, or 1970 if it does not say that.
	ModTime time.Time
}

// DownloadURL downloads the file of an http or https URL, which need not be part of an archive, into the cache. want is
// the SHA256 digest that it must have, in hexadecimal, or "". The server is always asked: only what it identifies by
// the same ETag is not sent again.
func (c *Client) DownloadURL(ctx context.Context, rawURL, want string) (URLFile, error) {
	last, err := c.Cache.response(ctx, rawURL)
	if err != nil {
		return URLFile{}, err
	}
	if last.ETag == "" || strings.HasPrefix(last.ETag, "W/") {
		// The content may differ (RFC 9110, 8.8.1), and a time is one of whole seconds.
		last = response{}
	}
	tmp, err := c.Cache.create()
	if err != nil {
		return URLFile{}, err
	}
	defer tmp.discard()
	t := &transfer{
		client: c, url: rawURL, fresh: true, pages: true, limit: math.MaxInt64, size: largestURLFile, dst: tmp,
		restart: tmp.truncate, sum: sha256.New(), last: last,
	}
	if err := t.run(ctx); err != nil {
		return URLFile{}, err
	}
	found := last
	if !t.unchanged {
		found = t.response
		found.SHA256 = hex.EncodeToString(t.sum.Sum(nil))
	}
	if want != "" && found.SHA256 != want {
		return URLFile{}, &DownloadError{URL: rawURL, Err: &ChecksumError{Want: want, Got: found.SHA256}}
	}
	if !t.unchanged {
		if err := errors.Join(tmp.keep(found.SHA256), c.Cache.keepResponse(rawURL, found)); err != nil {
			return URLFile{}, err
		}
	}
	file := URLFile{SHA256: found.SHA256, ModTime: time.Unix(0, 0)}
	if found.LastModified != "" {
		if file.ModTime, err = http.ParseTime(found.LastModified); err != nil {
			return URLFile{}, &DownloadError{URL: rawURL, Err: fmt.Errorf("Last-Modified: %w", err)}
		}
	}
	return file, nil
}

// largestURLFile decides how long a download of unknown size may take. What is slower than leastRate has failed before.
const largestURLFile = 1 << 30
