// Sends one message with nodemailer: node nodemailer.mjs MODULE < JSON
// The JSON has the transport's options, the envelope, the content in base64, and what else the
// message has.

import { pathToFileURL } from "node:url";
import { text } from "node:stream/consumers";

const { default: nodemailer } = await import(pathToFileURL(process.argv[2]));
const { transport, envelope, content, more } = JSON.parse(await text(process.stdin));
const mailer = nodemailer.createTransport(transport);
const info = await mailer.sendMail({ ...more, envelope, raw: Buffer.from(content, "base64") });
if (info.rejected.length > 0) process.exitCode = 1;
mailer.close();
