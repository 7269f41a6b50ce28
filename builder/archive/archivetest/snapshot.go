// SPDX-License-Identifier: Apache-2.0

package archivetest

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"time"
)

// snapshot is a state of an archive.
type snapshot struct {
	time  time.Time
	files map[string][]byte
}

// snapshotLayout is the form of times in the URLs of snapshot archives.
const snapshotLayout = "20060102T150405Z"

// SnapshotURL returns the URL of the snapshot archive, which has what Snapshot keeps, at /archive/NAME/TIME. As at
// snapshot.debian.org, the files of a time without a state of its own are those of the last state before it, to which
// requests are redirected.
func (r *Repository) SnapshotURL() string { return r.server.URL }

// Snapshot keeps the present state of some suites, and all packages, in the archive of that name of the snapshot
// archive: "debian" or "debian-security". Later calls have later times.
func (r *Repository) Snapshot(archive string, at time.Time, suites ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dists == nil {
		dists, err := r.makeDists()
		if err != nil {
			r.t.Fatalf("archivetest: %v", err)
		}
		r.dists = dists
	}
	files := maps.Clone(r.pool)
	for path, data := range r.dists {
		for _, suite := range suites {
			if strings.HasPrefix(path, "dists/"+suite+"/") {
				files[path] = data
			}
		}
	}
	r.snapshots[archive] = append(r.snapshots[archive], snapshot{at, files})
}

// serveSnapshot answers a request for /archive/NAME/TIME/PATH.
func (r *Repository) serveSnapshot(w http.ResponseWriter, req *http.Request) {
	const fields = 5
	parts := strings.SplitN(req.URL.Path, "/", fields)
	if len(parts) < fields || parts[1] != "archive" {
		http.NotFound(w, req)
		return
	}
	archive, path := parts[2], parts[4]
	asked, err := time.Parse(snapshotLayout, parts[3])
	if err != nil {
		http.NotFound(w, req)
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, strings.TrimPrefix(req.URL.Path, "/"))
	fault := r.nextFault(req.Host + req.URL.Path)
	states := r.snapshots[archive]
	r.mu.Unlock()
	i := len(states) - 1
	for i >= 0 && states[i].time.After(asked) {
		i--
	}
	if i < 0 {
		http.NotFound(w, req)
		return
	}
	data, ok := states[i].files[path]
	switch {
	case fault.serve(w, req, data):
	case !states[i].time.Equal(asked):
		parts[3] = states[i].time.Format(snapshotLayout)
		http.Redirect(w, req, strings.Join(parts, "/"), http.StatusFound)
	case !ok:
		http.NotFound(w, req)
	default:
		http.ServeContent(w, req, "", states[i].time, bytes.NewReader(data))
	}
}
