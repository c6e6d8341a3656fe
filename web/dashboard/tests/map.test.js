import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fit, fromScreen, latOf, metresPerPixel, scaleBar, toScreen, toWorld, worldY, zoomed } from '../model/geo.js';
import { MapError, decode, extent } from '../model/roads.js';
import { at, isMoving, moved } from '../model/track.js';
import { encodeRoads, random, town } from './mock-data.mjs';

const near = (a, b, by, what) => assert.ok(Math.abs(a - b) <= by, `${what ?? ''} ${a} is not ${b}`);

test('roads come back as they were packed, to a metre, broadest last', () => {
  const lines = town();
  const back = decode(encodeRoads(lines));
  assert.equal(back.length, lines.length);
  assert.ok(back.every((l, n) => n === 0 || back[n - 1].rank >= l.rank));
  const motorway = back.at(-1);
  const want = lines.find((l) => l.cls === 0).points;
  want.forEach(([lat, lon], n) => {
    near(motorway.points[2 * n], toWorld({ lat, lon }).x, 2e-8);
    near(motorway.points[2 * n + 1], worldY(lat), 3e-8);
  });
  assert.ok(extent(back).x0 < extent(back).x1);
  assert.equal(extent([]), null);
});

test('bytes that are no map are refused, however they are cut or changed', () => {
  const good = encodeRoads(town());
  assert.throws(() => decode(Buffer.from('PNG.....')), MapError);
  for (let cut = 0; cut < good.length - 1; cut += 97) assert.throws(() => decode(good.subarray(0, cut)), MapError, `cut at ${cut}`);
  const rnd = random(5);
  for (let n = 0; n < 300; n++) {
    const bad = Buffer.from(good);
    bad[5 + Math.floor(rnd() * (bad.length - 5))] = Math.floor(rnd() * 256);
    try {
      decode(bad);
    } catch (error) {
      assert.ok(error instanceof MapError, String(error));
    }
  }
});

test('a place on the screen and the place on the ground are one', () => {
  const v = fit([47.05, 9.47, 47.27, 9.64], 800, 600);
  const p = toWorld({ lat: 47.14, lon: 9.52 });
  const s = toScreen(v, p, 800, 600);
  const back = fromScreen(v, s, 800, 600);
  near(back.x, p.x, 1e-12);
  near(latOf(back.y), 47.14, 1e-9);
  assert.ok(s.x > 0 && s.x < 800 && s.y > 0 && s.y < 600);
});

test('zooming keeps the ground under the pointer and stays within its limits', () => {
  const v = fit([47, 9, 48, 10], 800, 600);
  const under = fromScreen(v, { x: 123, y: 456 }, 800, 600);
  const z = zoomed(v, 3, { x: 123, y: 456 }, 800, 600, [1, 1e9]);
  const s = toScreen(z, under, 800, 600);
  near(s.x, 123, 1e-6);
  near(s.y, 456, 1e-6);
  assert.equal(zoomed(v, 1e9, { x: 0, y: 0 }, 800, 600, [1, 5e6]).scale, 5e6);
});

test('the scale bar is a round length that fits', () => {
  const v = fit([47.05, 9.47, 47.27, 9.64], 800, 600);
  const bar = scaleBar(v, 110);
  assert.ok(bar.px <= 110 && bar.px > 40);
  assert.match(String(bar.metres), /^[125]0*$/);
  near(bar.metres / bar.px, metresPerPixel(v), 1e-9);
});

test('a unit glides to its newest fix without jumping or running ahead', () => {
  let t = moved(undefined, 0.5, 0.5, null, 0);
  t = moved(t, 0.50001, 0.5, null, 500);
  assert.deepEqual(at(t, 500), { x: 0.5, y: 0.5 });
  assert.ok(isMoving(t, 600));
  const before = at(t, 750);
  assert.ok(before.x > 0.5 && before.x < 0.50001);
  const next = moved(t, 0.50002, 0.5, null, 750);
  near(at(next, 750).x, before.x, 1e-12, 'no jump at a new fix');
  assert.equal(at(next, 99_999).x, 0.50002);
  assert.equal(isMoving(next, 99_999), false);
  assert.equal(next.heading, 90);
  const far = moved(next, 0.6, 0.6, null, 1500);
  assert.deepEqual(at(far, 1500), { x: 0.6, y: 0.6 }, 'a jump is no drive');
});
