// SPDX-License-Identifier: Apache-2.0

// Package snapshottest provides a fake engine whose snapshots have no content.
package snapshottest

import (
	"context"
	"debug/elf"
	"io"
	"io/fs"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Engine has snapshots with labels and without content. Methods that need content return fs.ErrInvalid.
type Engine struct {
	// All are its snapshots, the most recently used first.
	All []types.Snapshot
}

func (e *Engine) Scratch(context.Context) (target.Rootfs, error)      { return nil, fs.ErrInvalid }
func (e *Engine) From(context.Context, string) (target.Rootfs, error) { return nil, fs.ErrInvalid }
func (e *Engine) Snapshots() ([]types.Snapshot, error)                { return e.All, nil }
func (e *Engine) Emulate(elf.FileHeader, string)                      {}
func (e *Engine) CopiesSnapshots() bool                               { return false }

func (e *Engine) Lock(context.Context, string, func()) (func() error, bool, error) {
	return func() error { return nil }, false, nil
}

func (e *Engine) CopyImage(context.Context, types.ImageCopy) error        { return fs.ErrInvalid }
func (e *Engine) CheckDestination(context.Context, types.ImageCopy) error { return fs.ErrInvalid }
func (e *Engine) InspectImage(context.Context, types.ImageSource) (types.RemoteImage, error) {
	return types.RemoteImage{}, fs.ErrInvalid
}
func (e *Engine) FetchLayers(context.Context, types.ImageSource, []types.RemoteLayer, string) error {
	return fs.ErrInvalid
}
func (e *Engine) Import(context.Context, string, []types.PackedSnapshot) error {
	return fs.ErrInvalid
}
func (e *Engine) Unpack(context.Context, io.Reader, string) error { return fs.ErrInvalid }

func (e *Engine) Labels(name string) (map[string]string, error) {
	for _, s := range e.All {
		if s.Name == name {
			return s.Labels, nil
		}
	}
	return nil, fs.ErrNotExist
}
