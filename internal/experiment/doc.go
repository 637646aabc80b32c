// Package experiment knows what one run of a measurement is, and analyses it.
//
// In: an fs.FS with what the user named. Find applies the folder rule of
// EXPERIMENTS.md; Analyze takes one experiment from files to a Dataset: decode,
// sessions, rates, in that order, once. The command line, the batch and the
// demo all call Analyze, so that there is one way from files to rows.
//
// Files, folders, the manifest and the order of the steps may enter here;
// protocols, arithmetic and pictures may not.
package experiment
