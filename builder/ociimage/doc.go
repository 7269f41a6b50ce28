// SPDX-License-Identifier: Apache-2.0

// Package ociimage writes and reads container images as OCI image layouts: directories with the layers, the
// configuration and the manifest of an image in files named by their digests (OCI image specification 1.1,
// image-layout.md).
//
// A layer is a diskimage.Tree. Difference returns the layer that turns one tree into another, with whiteouts, so that
// images share their common lower layers, in a registry as well as on disk:
//
//	layout, err := ociimage.Create(dir)
//	err = layout.AddLayer(ctx, base, "bootstrap", gzip)
//	err = layout.AddLayer(ctx, ociimage.Difference(base, whole), "packages", gzip)
//	digest, err := layout.Finish(image)
//
// OpenLayout, OpenArchive and OpenDockerArchive read an image without unpacking it. They verify its layers and return
// them for diskimage.NewLayerTree.
//
// Attach writes documents about an image, such as bills of materials, as artifacts that refer to it.
//
// A finished layout can be added to another one under a name (Add), or packed into a file (WriteArchive). The output is
// reproducible: the same trees, image and compression have the same digests.
//
// Not supported: writing images for several platforms under one name, signatures, encrypted or non-distributable
// layers, opaque whiteouts (each removed name has its own whiteout instead), registries.
package ociimage
