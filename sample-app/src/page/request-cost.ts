/** Measures what requests cost, for the page. A middleware, so that it sees a request from beginning to end. */
import { Injectable, type NestMiddleware } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface Cost {
  request: string;
  ms: number;
}

@Injectable()
export class RequestCost implements NestMiddleware {
  private static latest: Cost | undefined;

  /** The last request that was answered, other than for the page itself. */
  static get last(): Cost | undefined {
    return RequestCost.latest;
  }

  use(request: IncomingMessage & { originalUrl: string }, response: ServerResponse, next: () => void): void {
    const { method, originalUrl } = request;
    const startMs = performance.now();
    response.once('finish', () => {
      if (originalUrl === '/' || originalUrl === '/stats') return;
      RequestCost.latest = { request: `${method} ${originalUrl}`, ms: performance.now() - startMs };
    });
    next();
  }
}
