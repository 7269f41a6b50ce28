// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
)

// response describes a downloaded file whose content can change, for a conditional request (RFC 9110, 13): a server
// that still has the same file does not send it again. What is used of it is verified like a new one.
type response struct {
	// ETag and LastModified are headers of the server's response. One of them may be empty.
	ETag         string `json:",omitempty"`
	LastModified string `json:",omitempty"`
	// SHA256 is the digest of the content, which the cache has.
	SHA256 string
}

// condition asks for the file only if it has changed.
func (r response) condition(h http.Header) {
	if r.ETag != "" {
		h.Set("If-None-Match", r.ETag)
	}
	if r.LastModified != "" {
		h.Set("If-Modified-Since", r.LastModified)
	}
}

// responses is the directory of the responses, which are named by digests of their URLs.
func (c *Cache) responses() string { return filepath.Join(c.dir, "responses") }

// responseFile returns the name of the file with the response of a URL. Credentials in it do not matter: whoever can
// read the file gets the same.
func (c *Cache) responseFile(url string) string {
	return filepath.Join(c.responses(), digestOf([]byte(bareURL(url))))
}

// response returns the last response of a URL, or the zero response if the cache does not have both that and its
// content; a damaged one counts as missing.
func (c *Cache) response(ctx context.Context, url string) (r response, err error) {
	text, err := os.ReadFile(c.responseFile(url))
	if errors.Is(err, fs.ErrNotExist) {
		return response{}, nil
	}
	if err != nil {
		return response{}, fmt.Errorf("cache: %w", err)
	}
	if json.Unmarshal(text, &r) != nil || !validDigest(r.SHA256) {
		return response{}, nil
	}
	if ok, err := c.Verify(ctx, r.SHA256); err != nil || !ok {
		return response{}, err
	}
	return r, nil
}

// keepResponse keeps a response whose content the cache has, if a later request can be conditional.
func (c *Cache) keepResponse(url string, r response) error {
	if r.ETag == "" && r.LastModified == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cache: keep the response of %s: %w", Redact(url), err)
	}
	tmp, err := c.create()
	if err != nil {
		return err
	}
	defer tmp.discard()
	if _, err = tmp.Write(text); err == nil {
		err = tmp.moveTo(c.responseFile(url))
	}
	if err != nil {
		return fmt.Errorf("cache: keep the response of %s: %w", Redact(url), err)
	}
	return nil
}

// removeResponses removes the responses whose content is no longer in the cache.
func (c *Cache) removeResponses() error {
	entries, err := os.ReadDir(c.responses())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cache: %w", err)
	}
	for _, e := range entries {
		name := filepath.Join(c.responses(), e.Name())
		var r response
		text, err := os.ReadFile(name)
		if err == nil && json.Unmarshal(text, &r) == nil && validDigest(r.SHA256) {
			if _, err = os.Stat(c.Path(r.SHA256)); err == nil {
				continue
			}
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cache: %w", err)
		}
	}
	return nil
}
