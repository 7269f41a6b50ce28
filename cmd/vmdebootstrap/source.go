// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// sourceOpener opens what verbs read a system from: a disk image, a tarball, a container image or a directory.
type sourceOpener struct {
	env environment
	// stateDir is the value of --state-dir, below which images of registries are stored for the time of the call.
	stateDir      string
	skipTLSVerify bool
	// tempDir is for unnamed files with what is compressed; empty for the system's.
	tempDir string
	arch    string // of an image for several; empty for this machine's
	report  *progress.Reporter
	anyDisk bool
	// store reads images of container stores; nil for verbs that work without a user namespace.
	store *engine
}

// openSource is an open source; Close also deletes what was downloaded.
type openSource struct {
	*builder.SourceTree
	remove func() error
}

func (s openSource) Close() error { return errors.Join(s.SourceTree.Close(), s.remove()) }

// sourceWorld returns the part of the environment in which sources are found.
func (e environment) sourceWorld() builder.World { return builder.World{Stat: e.stat, Dir: e.dir} }

// open opens the source with a name as for --from.
func (o sourceOpener) open(ctx context.Context, text string) (openSource, error) {
	source, err := builder.ParseSource(text, o.env.sourceWorld())
	if err != nil {
		return openSource{}, err
	}
	return o.openParsed(ctx, source)
}

func (o sourceOpener) openParsed(ctx context.Context, source builder.Source) (opened openSource, err error) {
	opened.remove = func() error { return nil }
	options := builder.SourceOptions{
		World: o.env.sourceWorld(), Stdin: o.env.stdin, TempDir: cmp.Or(o.tempDir, os.TempDir()),
		Arch: cmp.Or(o.arch, o.env.arch), AnyDisk: o.anyDisk,
	}
	if reference := source.Reference(); reference != "" {
		if source.IsStored() && o.store == nil {
			return openSource{}, fmt.Errorf("%s: only assemble reads container stores: write the image to a file with "+
				"podman save --format=oci-archive", reference)
		}
		var layout string
		if layout, opened.remove, err = o.pull(ctx, source, options.Arch); err != nil {
			return openSource{}, err
		}
		source = builder.LayoutSource(layout)
	}
	if opened.SourceTree, err = source.Open(ctx, options); err != nil {
		return openSource{}, errors.Join(err, opened.remove())
	}
	return opened, nil
}

// pull copies an image from a registry or a container store to an OCI layout, which remove deletes.
func (o sourceOpener) pull(ctx context.Context, source builder.Source, arch string) (layout string,
	remove func() error, err error) {
	dir, err := o.env.stateDir(o.stateDir)
	if err != nil {
		return "", nil, err
	}
	p := oci.ImagePull{
		Source: source.Reference(), Dir: imagesDir(dir), AuthFile: o.env.getenv("REGISTRY_AUTH_FILE"),
		SkipTLSVerify: o.skipTLSVerify, Progress: o.report.Bytes("pull", 0),
	}
	p.Architecture, p.Variant = builder.Platform(arch)
	if source.IsStored() {
		return o.store.PullLocal(ctx, p, o.env.environ)
	}
	return oci.Pull(ctx, p)
}
