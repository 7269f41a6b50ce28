// SPDX-License-Identifier: Apache-2.0

// Package step has the steps by which a build changes the root file system, a file for each concern: debootstrap,
// packages, accounts, network, boot loaders' files, hooks. A Step is data, so that a plan can be printed, compared and
// hashed. It runs in a Context, which has the target, the toolbox and the directories and settings of the host.
//
// A step depends neither on the options that it was made from nor on the cache of its result.
package step
